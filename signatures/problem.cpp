#include "signatures/problem.h"

#include <fmt/format.h>

#include <cmath>

#include "signatures/document.h"

namespace fib {
namespace {

// No machine holds more; anything above is a wrong axis, not a big tensor.
constexpr int64_t kMaxTensorBits = int64_t{1} << 49;

class Binder {
 public:
  Binder(SignaturePtr signature, const Workload& workload)
      : signature_(*signature), workload_(workload) {
    problem_.signature = std::move(signature);
    problem_.workload = workload;
  }

  Result<Problem> run() {
    FIB_CHECK(take_given_axes());
    derive_axes();
    FIB_CHECK(check_complete());
    FIB_CHECK(check_inputs());
    FIB_CHECK(describe());
    FIB_CHECK(check_constraints());
    return std::move(problem_);
  }

 private:
  Failure error(std::string message, std::string_view pointer, std::string remedy = {}) const {
    std::string where = workload_.where;
    if (!where.empty() && !pointer.empty()) where += ": ";
    where += pointer;
    return fail(ErrorCode::kInvalidInput, fmt::format("{}: {}", signature_.name, message),
                std::move(where), std::move(remedy));
  }

  std::vector<std::string> axis_names() const {
    std::vector<std::string> names;
    for (const Axis& axis : signature_.axes) names.push_back(axis.name);
    return names;
  }

  Result<void> take_given_axes() {
    for (const Axis& axis : signature_.axes) {
      if (axis.kind == Axis::Kind::kConst) problem_.axes[axis.name] = axis.value;
    }
    for (const auto& [name, value] : workload_.axes) {
      const std::string pointer = "/workload/axes/" + name;
      const Axis* axis = signature_.find_axis(name);
      if (axis == nullptr) {
        return error(fmt::format("there is no axis '{}'", name), pointer,
                     did_you_mean(name, axis_names(), ""));
      }
      if (value < 0) {
        return error(fmt::format("axis '{}' has the negative size {}", name, value), pointer);
      }
      if (axis->kind == Axis::Kind::kConst && axis->value != value) {
        return error(fmt::format("axis '{}' is {} in the signature, but {} in the workload", name,
                                 axis->value, value),
                     pointer);
      }
      problem_.axes[name] = value;
    }
    return {};
  }

  // Axes and shapes are known here, values of inputs are not.
  struct Scope final : ExpressionScope {
    std::optional<double> axis(std::string_view name) const override {
      const auto it = problem->axes.find(std::string(name));
      if (it == problem->axes.end()) return std::nullopt;
      return static_cast<double>(it->second);
    }
    std::optional<std::span<const int64_t>> integers(std::string_view) const override {
      needs_values = true;
      return std::nullopt;
    }
    std::optional<std::vector<int64_t>> shape(std::string_view name) const override {
      for (const TensorDesc& input : problem->inputs) {
        if (input.name == name && !input.is_host_scalar) return input.shape;
      }
      return std::nullopt;
    }
    const Problem* problem = nullptr;
    mutable bool needs_values = false;  // the expression asked for the values of an input
  };

  bool is_open(std::string_view name) const {
    return signature_.find_axis(name) != nullptr && !problem_.axes.contains(std::string(name));
  }

  // Constraints may define axes by one another, in any order.
  void derive_axes() {
    Scope scope;
    scope.problem = &problem_;
    for (bool has_changed = true; has_changed;) {
      has_changed = false;
      for (const Expression& constraint : signature_.constraints) {
        const auto definition =
            constraint.as_axis_definition([&](std::string_view name) { return is_open(name); });
        if (!definition) continue;
        const auto value = definition->second.evaluate(scope);
        if (!value || *value != std::floor(*value) || *value < 0.0 || *value > 0x1p53) continue;
        problem_.axes[definition->first] = static_cast<int64_t>(*value);
        has_changed = true;
      }
    }
  }

  Result<void> check_complete() const {
    for (const Axis& axis : signature_.axes) {
      if (!is_open(axis.name)) continue;
      std::string remedy = fmt::format("give it in the workload's axes");
      for (const Expression& constraint : signature_.constraints) {
        if (!constraint.names().contains(axis.name)) continue;
        remedy += fmt::format("; the signature says '{}'", constraint.text());
      }
      return error(fmt::format("axis '{}' is left open", axis.name), "/workload/axes", remedy);
    }
    return {};
  }

  Result<void> check_inputs() const {
    for (const auto& [name, spec] : workload_.inputs) {
      const std::string pointer = "/workload/inputs/" + name;
      const TensorSpec* input = signature_.find_input(name);
      if (input == nullptr) {
        std::vector<std::string> names;
        for (const TensorSpec& known : signature_.inputs) names.push_back(known.name);
        return error(fmt::format("there is no input '{}'", name), pointer,
                     did_you_mean(name, names, ""));
      }
      const bool is_tensor = input->shape && !input->shape->empty();
      if (std::holds_alternative<ScalarInput>(spec) && is_tensor) {
        return error(fmt::format("input '{}' is a tensor, the workload gives a scalar", name),
                     pointer);
      }
      if (std::holds_alternative<SafetensorsInput>(spec) && !input->shape) {
        return error(fmt::format("input '{}' is a host scalar, the workload gives a tensor", name),
                     pointer);
      }
    }
    return {};
  }

  Result<void> describe() {
    for (const TensorSpec& spec : signature_.inputs) {
      TensorDesc desc = FIB_TRY(describe_one(spec));
      desc.is_weight = signature_.is_weight(spec.name);
      desc.is_host_visible = signature_.is_host_visible(spec.name);
      problem_.inputs.push_back(std::move(desc));
    }
    for (const TensorSpec& spec : signature_.outputs) {
      TensorDesc desc = FIB_TRY(describe_one(spec));
      const auto in_place = signature_.fib.in_place.find(spec.name);
      if (in_place != signature_.fib.in_place.end()) {
        desc.in_place_of = static_cast<size_t>(signature_.find_input(in_place->second) -
                                               signature_.inputs.data());
      }
      problem_.outputs.push_back(std::move(desc));
    }
    return {};
  }

  Result<TensorDesc> describe_one(const TensorSpec& spec) const {
    TensorDesc desc;
    desc.name = spec.name;
    desc.dtype = spec.dtype;
    desc.is_host_scalar = !spec.shape.has_value();
    int64_t bits = bits_of(spec.dtype);
    bool is_too_large = false;
    bool is_empty = false;
    for (const std::string& axis : spec.shape.value_or(std::vector<std::string>{})) {
      const int64_t size = problem_.axes.at(axis);
      desc.shape.push_back(size);
      is_empty = is_empty || size == 0;
      is_too_large = is_too_large || (size > 0 && bits > kMaxTensorBits / size);
      if (!is_too_large && size > 0) bits *= size;
    }
    if (is_too_large && !is_empty) {
      return error(fmt::format("tensor '{}' of shape [{}] takes more than 2^46 bytes", spec.name,
                               fmt::join(desc.shape, ", ")),
                   "/workload/axes");
    }
    return desc;
  }

  // What needs the values of inputs is left to those who load or make them.
  Result<void> check_constraints() const {
    for (const Expression& constraint : signature_.constraints) {
      Scope scope;
      scope.problem = &problem_;
      const auto value = constraint.evaluate(scope);
      if (scope.needs_values) continue;
      if (!value) return error(value.error().message, "");
      if (*value != 0.0) continue;
      std::string sizes;
      for (const std::string& name : constraint.names()) {
        if (!problem_.axes.contains(name)) continue;
        if (!sizes.empty()) sizes += ", ";
        sizes += fmt::format("{}={}", name, problem_.axes.at(name));
      }
      return error(fmt::format("the constraint '{}' is false for {}", constraint.text(), sizes),
                   "/workload/axes");
    }
    return {};
  }

  const Signature& signature_;
  const Workload& workload_;
  Problem problem_;
};

}  // namespace

int64_t TensorDesc::num_elements() const {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

size_t TensorDesc::size_bytes() const { return storage_bytes(dtype, num_elements()); }

std::string Problem::label() const {
  std::string text = signature->name;
  for (const Axis& axis : signature->axes) {
    if (axis.kind == Axis::Kind::kVar) text += fmt::format(" {}={}", axis.name, axes.at(axis.name));
  }
  return text;
}

Result<Problem> bind(SignaturePtr signature, const Workload& workload) {
  return Binder(std::move(signature), workload).run();
}

}  // namespace fib
