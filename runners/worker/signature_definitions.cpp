#include "runners/worker/signature_definitions.h"

#include <fmt/format.h>

namespace fib {

std::vector<std::pair<std::string, std::string>> signature_definitions(const Signature& signature) {
  std::vector<std::pair<std::string, std::string>> definitions;
  for (const Axis& axis : signature.axes) {
    if (axis.kind != Axis::Kind::kConst) continue;
    definitions.emplace_back("FIB_AXIS_" + axis.name, std::to_string(axis.value));
  }
  for (const auto& [name, value] : signature.fib.parameters) {
    definitions.emplace_back("FIB_PARAM_" + name, fmt::format("{:.9g}", value));
  }
  return definitions;
}

}  // namespace fib
