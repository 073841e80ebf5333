#include "integrations/package/call_shape.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

namespace fib {
namespace {

constexpr int64_t kOpen = -1;

class AxisScope : public ExpressionScope {
 public:
  AxisScope(const Signature& signature, std::span<const int64_t> axes)
      : signature_(signature), axes_(axes) {}

  std::optional<double> axis(std::string_view name) const override {
    for (size_t i = 0; i < axes_.size(); ++i) {
      if (signature_.axes[i].name == name) return static_cast<double>(axes_[i]);
    }
    return std::nullopt;
  }
  std::optional<std::span<const int64_t>> integers(std::string_view) const override {
    return std::nullopt;
  }
  std::optional<std::vector<int64_t>> shape(std::string_view) const override {
    return std::nullopt;
  }

 private:
  const Signature& signature_;
  std::span<const int64_t> axes_;
};

}  // namespace

Operand shaped_operand(const Signature& signature, const TensorSpec& spec,
                       std::span<const int64_t> axes) {
  Operand operand;
  if (!spec.shape) return operand;
  for (const std::string& name : *spec.shape) {
    const auto axis = static_cast<size_t>(signature.find_axis(name) - signature.axes.data());
    operand.shape[operand.rank++] = axes[axis];
  }
  return operand;
}

Result<CallShape> CallShape::of(SignaturePtr signature) {
  CallShape shape;
  shape.signature_ = std::move(signature);
  const Signature& s = *shape.signature_;
  for (const Axis& axis : s.axes) {
    shape.fixed_.push_back(axis.kind == Axis::Kind::kConst ? axis.value : kOpen);
  }
  for (const TensorSpec& input : s.inputs) FIB_CHECK(shape.add(input, shape.inputs_));
  for (const TensorSpec& output : s.outputs) FIB_CHECK(shape.add(output, shape.outputs_));
  for (size_t i = 0; i < s.axes.size(); ++i) {
    const auto shows = [&](const Tensor& tensor) {
      const auto end = tensor.axis.begin() + tensor.rank;
      return std::find(tensor.axis.begin(), end, static_cast<int>(i)) != end;
    };
    if (shape.fixed_[i] != kOpen ||
        std::any_of(shape.inputs_.begin(), shape.inputs_.end(), shows) ||
        std::any_of(shape.outputs_.begin(), shape.outputs_.end(), shows)) {
      continue;
    }
    return fail(
        ErrorCode::kUnsupported,
        fmt::format("no tensor has the axis '{}', so calls don't say its size", s.axes[i].name),
        s.name);
  }
  for (const Expression& constraint : s.constraints) {
    const auto is_axis = [&](const std::string& name) { return s.find_axis(name) != nullptr; };
    if (std::all_of(constraint.names().begin(), constraint.names().end(), is_axis)) {
      shape.constraints_.push_back(&constraint);
    }
  }
  shape.axes_.assign(s.axes.size(), kOpen);
  shape.trial_ = shape.axes_;
  return shape;
}

Result<void> CallShape::add(const TensorSpec& spec, std::vector<Tensor>& tensors) {
  Tensor tensor{.is_scalar = !spec.shape, .is_weight = signature_->is_weight(spec.name)};
  if (spec.shape) {
    if (spec.shape->size() > Operand::kMaxRank) {
      return fail(ErrorCode::kUnsupported,
                  fmt::format("'{}' has {} dimensions, calls have at most {}", spec.name,
                              spec.shape->size(), Operand::kMaxRank),
                  signature_->name);
    }
    for (const std::string& name : *spec.shape) {
      const Axis* axis = signature_->find_axis(name);
      tensor.axis[tensor.rank++] = static_cast<int>(axis - signature_->axes.data());
    }
  }
  tensors.push_back(tensor);
  return {};
}

bool CallShape::fits(const Tensor& tensor, const Operand& operand, std::span<int64_t> axes) {
  if (operand.rank != tensor.rank) return false;
  if (tensor.is_scalar) return operand.data == nullptr && std::isfinite(operand.scalar);
  bool is_empty = false;
  for (int d = 0; d < tensor.rank; ++d) {
    const int64_t size = operand.shape[d];
    int64_t& axis = axes[tensor.axis[d]];
    if (axis == kOpen && size >= 0) axis = size;
    if (axis != size) return false;
    is_empty |= size == 0;
  }
  return operand.data != nullptr || is_empty;
}

Result<CallShape::Match> CallShape::solve(const KernelCall& call) {
  const Signature& s = *signature_;
  if (call.inputs.size() != inputs_.size()) {
    return fail(explain_count("input", call.inputs.size(), inputs_.size()));
  }
  if (call.outputs.size() != outputs_.size()) {
    return fail(explain_count("output", call.outputs.size(), outputs_.size()));
  }
  std::copy(fixed_.begin(), fixed_.end(), trial_.begin());
  for (size_t i = 0; i < inputs_.size(); ++i) {
    if (fits(inputs_[i], call.inputs[i], trial_)) continue;
    // Prepared weights may stand in for the originals, which are then gone.
    const bool is_replaced = inputs_[i].is_weight && call.prepared != nullptr;
    if (is_replaced && call.inputs[i].data == nullptr) continue;
    return fail(explain(inputs_[i], s.inputs[i], "input", call.inputs[i], trial_));
  }
  for (size_t i = 0; i < outputs_.size(); ++i) {
    if (fits(outputs_[i], call.outputs[i], trial_)) continue;
    return fail(explain(outputs_[i], s.outputs[i], "output", call.outputs[i], trial_));
  }
  if (std::equal(trial_.begin(), trial_.end(), axes_.begin())) return Match::kAsBefore;
  FIB_CHECK(check_constraints(trial_));
  std::swap(trial_, axes_);
  return Match::kNew;
}

Result<std::vector<int64_t>> CallShape::solve_weights(std::span<const Operand> inputs) const {
  if (inputs.size() != inputs_.size()) {
    return fail(explain_count("input", inputs.size(), inputs_.size()));
  }
  std::vector<int64_t> axes = fixed_;
  for (size_t i = 0; i < inputs_.size(); ++i) {
    if (!inputs_[i].is_weight || fits(inputs_[i], inputs[i], axes)) continue;
    return fail(explain(inputs_[i], signature_->inputs[i], "weight", inputs[i], axes));
  }
  std::replace(axes.begin(), axes.end(), kOpen, int64_t{1});
  return axes;
}

Result<void> CallShape::check_constraints(std::span<const int64_t> axes) const {
  for (const Expression* constraint : constraints_) {
    if (FIB_TRY(constraint->evaluate(AxisScope(*signature_, axes))) != 0.0) continue;
    std::string sizes;
    for (size_t i = 0; i < axes.size(); ++i) {
      const std::string& name = signature_->axes[i].name;
      if (!constraint->names().contains(name)) continue;
      sizes += fmt::format("{}{}={}", sizes.empty() ? "" : ", ", name, axes[i]);
    }
    return fail(ErrorCode::kInvalidInput,
                fmt::format("the constraint '{}' is false for {}", constraint->text(), sizes),
                signature_->name);
  }
  return {};
}

Error CallShape::explain_count(std::string_view kind, size_t given, size_t wanted) const {
  return {ErrorCode::kInvalidInput, fmt::format("{} {}s given, it has {}", given, kind, wanted),
          signature_->name};
}

Error CallShape::explain(const Tensor& tensor, const TensorSpec& spec, std::string_view kind,
                         const Operand& operand, std::span<const int64_t> axes) const {
  const auto error = [&](std::string_view what) {
    return Error{ErrorCode::kInvalidInput, fmt::format("{} '{}' {}", kind, spec.name, what),
                 signature_->name};
  };
  if (tensor.is_scalar) {
    if (operand.rank != 0 || operand.data != nullptr) {
      return error("is a tensor, the signature takes a number");
    }
    return error(fmt::format("is {}", operand.scalar));
  }
  if (operand.rank != tensor.rank) {
    return error(fmt::format("has {} dimensions, the signature says [{}]", operand.rank,
                             fmt::join(*spec.shape, ", ")));
  }
  for (int d = 0; d < tensor.rank; ++d) {
    const std::string& axis = (*spec.shape)[d];
    if (operand.shape[d] < 0) {
      return error(fmt::format("has a negative size for '{}': {}", axis, operand.shape[d]));
    }
    if (operand.shape[d] != axes[tensor.axis[d]]) {
      return error(
          fmt::format("has '{}' = {}, it is {}", axis, operand.shape[d], axes[tensor.axis[d]]));
    }
  }
  return error("has no data");
}

}  // namespace fib
