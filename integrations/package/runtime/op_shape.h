#pragma once

// How a signature's calls look: which tensor has which axes. Finds the axes of a call in its
// tensors and says what is wrong with a tensor that doesn't fit.

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "integrations/package/include/fib_kernels.h"
#include "integrations/package/runtime/package_table.h"
#include "signatures/base/result.h"
#include "signatures/expression.h"

namespace fib::package {

// What the arrays on the stack of a call hold; a table with more is refused when it is opened.
inline constexpr size_t kMaxTensors = 32;  // of inputs, and of outputs
inline constexpr size_t kMaxAxes = 32;
inline constexpr size_t kMaxRank = 8;

// Where tensors of a device are.
struct Place {
  int32_t device_type = 0, device_id = 0;
  uint32_t alignment = 1;  // of a tensor's first byte, a power of two
};

// What of a call is looked at: all tensors or weights alone, with their data or without.
enum class Look { kEverything, kShapes, kWeights, kWeightShapes };

// A call of tensors as one of addresses, with all that it points to.
struct SolvedCall {
  std::array<int64_t, kMaxAxes> slots;  // of the axes, see OpShape
  std::array<void*, kMaxTensors> inputs, outputs;
  fib_kernels_raw_call raw;
};

class OpShape {
 public:
  struct Tensor {
    const fib_kernels_tensor_info* info = nullptr;
    uint32_t dtype = 0;  // the bytes of info->dtype
    int32_t ndim = 0;
    std::array<uint8_t, kMaxRank> slot{};
    bool is_host_scalar = false, is_weight = false;
  };

  // Errors are the table's: more tensors than calls can have, a constraint that can't be read.
  static Result<OpShape> of(const SignatureRow& row);

  const SignatureRow& row() const { return *row_; }
  const char* name() const { return row_->info.name; }
  std::span<const Tensor> inputs() const { return inputs_; }
  std::span<const Tensor> outputs() const { return outputs_; }

  // Axes have slots: first those that vary, in the signature's order, then the constants.
  size_t num_varying() const { return num_varying_; }
  std::span<const int64_t> constants() const { return std::span(blank_).subspan(num_varying_); }
  std::vector<int64_t> all_axes(const int64_t* varying) const;  // in the signature's order
  std::vector<int64_t> shape_of(const Tensor& tensor, std::span<const int64_t> axes) const;
  std::vector<int64_t> weight_axes(const int64_t* varying) const;  // 1 where no weight shows it
  size_t bytes_of(const Tensor& tensor, std::span<const int64_t> axes) const;

  // Allocates nothing where the call fits. Where only weights are looked at, axes that they don't
  // show are 1.
  fib_kernels_status solve(const fib_kernels_call& call, const Place& place, Look look,
                           SolvedCall& solved) const;

  // That varying axes are sizes, and that the constraints hold.
  Result<void> check_axes(const int64_t* varying) const;

 private:
  bool fits(const Tensor& rule, const fib_kernels_tensor& tensor, const Place& place, Look look,
            int64_t* slots, void** address) const;
  bool solve_inputs(const fib_kernels_call& call, const Place& place, Look look, SolvedCall& solved,
                    size_t* failed) const;
  fib_kernels_status explain(const char* kind, const Tensor& rule, const fib_kernels_tensor& tensor,
                             const Place& place, Look look, const int64_t* slots) const;
  Result<void> add(const fib_kernels_tensor_info& info, Rows<int32_t> axes, size_t* next,
                   std::vector<Tensor>& tensors) const;

  const SignatureRow* row_ = nullptr;
  std::vector<uint8_t> slot_of_axis_;
  std::vector<int64_t> blank_;  // slots before anything is known
  size_t num_varying_ = 0;
  std::vector<Tensor> inputs_, outputs_;
  std::vector<Expression> constraints_;
};

}  // namespace fib::package
