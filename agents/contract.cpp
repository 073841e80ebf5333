#include "agents/contract.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace fib {

std::string tolerance_in_words(const Tolerance& tolerance) {
  if (tolerance.rule == Tolerance::Rule::kDistribution) {
    return fmt::format(
        "draws that follow the reference's distribution, its cuts taken with a slack of {:g}",
        tolerance.slack);
  }
  return fmt::format(
      "RMS error at most {:g}x an honest implementation's, no element off by more than {:g} of its "
      "row's scale",
      tolerance.honest_factor, tolerance.max_error_rms);
}

std::string tensor_in_words(const Signature& signature, const TensorSpec& tensor) {
  std::string text = fmt::format("`{}`: {} ", tensor.name, dtype_name(tensor.dtype));
  text += tensor.shape ? fmt::format("[{}]", fmt::join(*tensor.shape, ", ")) : "scalar, by value";
  if (signature.is_weight(tensor.name)) text += "; a weight, may be re-laid out once";
  if (signature.is_host_visible(tensor.name)) text += "; its values are known to plan.cpp";
  const auto in_place = signature.fib.in_place.find(tensor.name);
  if (in_place != signature.fib.in_place.end()) {
    text += fmt::format("; its memory comes with the content of `{}`: write what changes",
                        in_place->second);
  }
  if (tensor.description) text += "; " + *tensor.description;
  return text;
}

std::string contract_in_words(const Signature& signature) {
  std::string text;
  const auto heading = [&](std::string_view title) {
    text += fmt::format("{}### {}\n\n", text.empty() ? "" : "\n", title);
  };
  heading("Axes");
  for (const Axis& axis : signature.axes) {
    text += axis.kind == Axis::Kind::kConst ? fmt::format("- `{}` = {}", axis.name, axis.value)
                                            : fmt::format("- `{}` varies by call", axis.name);
    text += axis.description ? "; " + *axis.description + "\n" : "\n";
  }
  heading("Inputs, in calling order");
  for (const TensorSpec& input : signature.inputs) {
    text += "- " + tensor_in_words(signature, input) + "\n";
  }
  heading("Outputs, in calling order");
  for (const TensorSpec& output : signature.outputs) {
    text += "- " + tensor_in_words(signature, output) + "\n";
  }
  if (!signature.constraints.empty()) {
    heading("Always true");
    for (const Expression& constraint : signature.constraints) {
      text += fmt::format("- `{}`\n", constraint.text());
    }
  }
  if (!signature.fib.parameters.empty()) {
    heading("Constants of the mathematics");
    for (const auto& [name, value] : signature.fib.parameters) {
      text += fmt::format("- `{}` = {:.9g}\n", name, value);
    }
  }
  if (!signature.fib.tolerances.empty()) {
    heading("When an output is right");
    for (const auto& [output, tolerance] : signature.fib.tolerances) {
      text += fmt::format("- `{}`: {}\n", output, tolerance_in_words(tolerance));
    }
  }
  return text;
}

}  // namespace fib
