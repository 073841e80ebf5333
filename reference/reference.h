#pragma once

// The slow, obvious, high-precision C++ implementation of an op type. Everything a candidate is
// judged by comes from here.

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reference/float_buffer.h"
#include "signatures/problem.h"
#include "signatures/tensor_source.h"

namespace fib {

enum class Precision {
  kExact,   // fp64 accumulation from the exact input values, no intermediate rounding
  kHonest,  // what a careful kernel does: fp32 accumulation, intermediates and outputs rounded to
            // the dtypes that the signature prescribes
};

// Runs `body(begin, end)` over [0, count) on the caller's threads.
using ParallelFor =
    std::function<void(int64_t count, const std::function<void(int64_t begin, int64_t end)>& body)>;

struct ReferenceCall {
  const Problem& problem;
  const std::vector<std::unique_ptr<TensorSource>>& inputs;  // calling order
  Precision precision = Precision::kExact;
  ParallelFor parallel_for;
};

// One vector an output, row-major. Exact values are kept in fp32: 2^-24 is far below the error of
// any judged kernel. Where an output is legitimately infinite (lse of an empty request) it is so.
using ReferenceOutputs = std::vector<FloatBuffer>;

// What is known of one random draw: of an element of an output judged by distribution.
struct DrawScore {
  bool is_possible = false;  // it has a probability, or would with the cuts moved by the slack
  double probability = 0.0;
  double lower = 0.0;        // probability of all lower values
  double likelier = 0.0;     // probability of all likelier values, of equally likely ones the lower
};

class Reference {
 public:
  virtual ~Reference() = default;
  virtual std::string_view id() const = 0;  // SignatureExtension::reference
  virtual Result<ReferenceOutputs> run(const ReferenceCall& call) const = 0;
  // One score for each element of a candidate's output that holds random draws (Tolerance::Rule).
  // kUnsupported where the operation draws nothing.
  virtual Result<std::vector<DrawScore>> score(const ReferenceCall& call,
                                               std::span<const int64_t> draws) const = 0;
};

// nullptr if there is none; the list is in reference/registry.cpp.
const Reference* find_reference(std::string_view id);
std::vector<std::string_view> reference_ids();

}  // namespace fib
