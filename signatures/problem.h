#pragma once

// A Problem is a Workload bound to its Signature: every axis solved, every tensor described,
// nothing allocated.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "signatures/signature.h"
#include "signatures/trace.h"

namespace fib {

struct TensorDesc {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;    // row-major, contiguous; empty for 0-D tensors and host scalars
  bool is_host_scalar = false;   // passed by value
  bool is_weight = false;
  bool is_host_visible = false;  // plan.cpp may read it
  // Of an output: position of the input whose content its memory comes with before each call.
  std::optional<size_t> in_place_of;

  int64_t num_elements() const;
  size_t size_bytes() const;
};

struct Problem {
  SignaturePtr signature;
  Workload workload;
  std::map<std::string, int64_t> axes;   // const and var, all of them
  std::vector<TensorDesc> inputs;        // calling order
  std::vector<TensorDesc> outputs;       // calling order

  // "rmsnorm_h4096 batch_size=14418": for progress lines and errors.
  std::string label() const;
};

// Var axes come from the workload; one it leaves out is taken from a constraint of the form
// `axis == expression` where that suffices. Errors name the axis and say who disagrees: unknown
// axes, axes left open, const axes contradicted, negative sizes, inputs the signature lacks,
// constraints over axes alone that are false, tensors of more than 2^46 bytes.
Result<Problem> bind(SignaturePtr signature, const Workload& workload);

}  // namespace fib
