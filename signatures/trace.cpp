#include "signatures/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>

#include "signatures/base/hash.h"

namespace fib {
namespace {

constexpr std::pair<TraceStatus, std::string_view> kStatusNames[] = {
    {TraceStatus::kPassed, "PASSED"},
    {TraceStatus::kIncorrectShape, "INCORRECT_SHAPE"},
    {TraceStatus::kIncorrectNumerical, "INCORRECT_NUMERICAL"},
    {TraceStatus::kIncorrectDType, "INCORRECT_DTYPE"},
    {TraceStatus::kRuntimeError, "RUNTIME_ERROR"},
    {TraceStatus::kCompileError, "COMPILE_ERROR"},
    {TraceStatus::kTimeout, "TIMEOUT"},
};

}  // namespace

std::string_view trace_status_name(TraceStatus status) {
  return std::find_if(std::begin(kStatusNames), std::end(kStatusNames),
                      [&](const auto& entry) { return entry.first == status; })
      ->second;
}

std::optional<TraceStatus> trace_status_from_name(std::string_view name) {
  for (const auto& [status, text] : kStatusNames) {
    if (text == name) return status;
  }
  return std::nullopt;
}

std::optional<int64_t> Workload::axis(std::string_view name) const {
  for (const auto& [axis, value] : axes) {
    if (axis == name) return value;
  }
  return std::nullopt;
}

std::string workload_id(const Workload& workload) {
  if (!workload.uuid.empty()) return workload.uuid;
  // Sorted, and without random inputs: neither order nor spelling them out changes the meaning.
  const std::map<std::string, int64_t> axes(workload.axes.begin(), workload.axes.end());
  std::map<std::string, std::string> inputs;
  for (const auto& [name, spec] : workload.inputs) {
    if (const auto* scalar = std::get_if<ScalarInput>(&spec)) {
      inputs[name] =
          std::visit([](auto value) { return fmt::format("scalar {}", value); }, scalar->value);
    } else if (const auto* stored = std::get_if<SafetensorsInput>(&spec)) {
      const std::string_view path = stored->path;
      inputs[name] = fmt::format("safetensors {} {}",
                                 path.starts_with("./") ? path.substr(2) : path, stored->tensor_key);
    }
  }
  Hasher hasher;
  hasher.add("workload 1");
  hasher.add(static_cast<uint64_t>(axes.size()));
  for (const auto& [name, value] : axes) hasher.add(name).add(static_cast<uint64_t>(value));
  for (const auto& [name, spec] : inputs) hasher.add(name).add(spec);
  return hasher.hex().substr(0, 32);
}

}  // namespace fib
