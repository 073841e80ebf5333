#pragma once

// Checks the operands of a call against its signature and solves its axes. The tables are laid out
// once: a step makes hundreds of calls, so a good one costs tens of nanoseconds and allocates
// nothing.

#include <array>
#include <span>
#include <vector>

#include "integrations/package/kernel.h"

namespace fib {

class CallShape {
 public:
  // kUnsupported for a signature that calls can't be made of: more dimensions than an Operand has,
  // or an axis that no tensor shows.
  static Result<CallShape> of(SignaturePtr signature);

  enum class Match {
    kAsBefore,  // the axes of the last call that was right
    kNew,
  };
  // kInvalidInput names the signature and the operand: number, rank, sizes that disagree, missing
  // data, constraints over axes that are false.
  Result<Match> solve(const KernelCall& call);

  // Axes of a prepare step, which has only the weights: those that no weight shows are 1.
  Result<std::vector<int64_t>> solve_weights(std::span<const Operand> inputs) const;

  // Of the last call that was right, in the order of Signature::axes.
  std::span<const int64_t> axes() const { return axes_; }

 private:
  struct Tensor {
    bool is_scalar = false, is_weight = false;
    int rank = 0;
    std::array<int, Operand::kMaxRank> axis{};  // by dimension: position in Signature::axes
  };

  CallShape() = default;
  Result<void> add(const TensorSpec& spec, std::vector<Tensor>& tensors);
  static bool fits(const Tensor& tensor, const Operand& operand, std::span<int64_t> axes);
  // What is wrong with an operand that doesn't fit.
  Error explain(const Tensor& tensor, const TensorSpec& spec, std::string_view kind,
                const Operand& operand, std::span<const int64_t> axes) const;
  Error explain_count(std::string_view kind, size_t given, size_t wanted) const;
  Result<void> check_constraints(std::span<const int64_t> axes) const;

  SignaturePtr signature_;
  std::vector<Tensor> inputs_, outputs_;
  std::vector<const Expression*> constraints_;  // over axes alone
  std::vector<int64_t> fixed_;                  // const axes; kOpen where an axis varies
  std::vector<int64_t> trial_, axes_;
};

// An operand of the shape that these axes give a tensor, without data.
Operand shaped_operand(const Signature& signature, const TensorSpec& spec,
                       std::span<const int64_t> axes);

// Elements of a tensor operand.
inline int64_t num_elements(const Operand& operand) {
  int64_t elements = 1;
  for (int d = 0; d < operand.rank; ++d) elements *= operand.shape[d];
  return elements;
}

}  // namespace fib
