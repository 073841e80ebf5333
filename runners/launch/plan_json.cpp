// Plans on the wire between the plan process and its parent, and in the plan cache. Byte arguments
// are hexadecimal text.

#include <fmt/format.h>

#include <limits>

#include "runners/launch/launch_plan.h"

namespace fib {
namespace {

constexpr const char* kWhere = "launch plan";

Json pointer_to_json(const FibPlanPointer& pointer) {
  return Json::array({pointer.space, pointer.index, pointer.byte_offset});
}

std::string to_hex(const std::vector<std::byte>& bytes) {
  std::string text;
  text.reserve(2 * bytes.size());
  for (const std::byte byte : bytes) {
    text += "0123456789abcdef"[std::to_integer<int>(byte) >> 4];
    text += "0123456789abcdef"[std::to_integer<int>(byte) & 15];
  }
  return text;
}

Json argument_to_json(const PlannedArgument& argument) {
  if (const auto* pointer = std::get_if<FibPlanPointer>(&argument.value)) {
    return Json{{"pointer", pointer_to_json(*pointer)}};
  }
  if (const auto* bytes = std::get_if<std::vector<std::byte>>(&argument.value)) {
    return Json{{"bytes", to_hex(*bytes)}};
  }
  const auto& map = std::get<FibPlanTensorMap>(argument.value);
  return Json{{"tensor_map",
               {{"base", pointer_to_json(map.base)},
                {"dtype", map.dtype},
                {"rank", map.rank},
                {"size", map.size},
                {"stride_bytes", map.stride_bytes},
                {"box", map.box},
                {"element_stride", map.element_stride},
                {"interleave", map.interleave},
                {"swizzle", map.swizzle},
                {"l2_promotion", map.l2_promotion},
                {"oob_fill", map.oob_fill}}}};
}

Json step_to_json(const PlannedLaunch& launch) {
  Json arguments = Json::array();
  for (const PlannedArgument& argument : launch.arguments) {
    arguments.push_back(argument_to_json(argument));
  }
  return Json{{"kernel", launch.kernel},
              {"grid", launch.grid},
              {"block", launch.block},
              {"cluster", launch.cluster},
              {"shared_bytes", launch.shared_bytes},
              {"is_cooperative", launch.is_cooperative},
              {"is_programmatic", launch.is_programmatic},
              {"is_prepare", launch.is_prepare},
              {"arguments", std::move(arguments)}};
}

Json step_to_json(const PlannedMemset& memset) {
  return Json{{"memset", pointer_to_json(memset.target)},
              {"bytes", memset.bytes},
              {"value", memset.value},
              {"is_prepare", memset.is_prepare}};
}

// A whole number that fits T.
template <class T>
Result<T> whole(const JsonView& view) {
  const Json& json = view.json();
  if (json.is_number_unsigned()) {
    const auto value = json.get<uint64_t>();
    if (value <= static_cast<uint64_t>(std::numeric_limits<T>::max())) return static_cast<T>(value);
  } else if (json.is_number_integer()) {
    const auto value = json.get<int64_t>();
    const bool fits =
        value >= 0
            ? static_cast<uint64_t>(value) <= static_cast<uint64_t>(std::numeric_limits<T>::max())
            : std::is_signed_v<T> && value >= static_cast<int64_t>(std::numeric_limits<T>::min());
    if (fits) return static_cast<T>(value);
  }
  return view.error(fmt::format("{} is not a whole number in range", json.dump()));
}

template <class T>
Result<T> whole_at(const JsonView& view, std::string_view key) {
  return whole<T>(FIB_TRY(view.at(key)));
}

template <class T>
Result<void> read_numbers(const JsonView& view, std::string_view key, std::span<T> numbers) {
  const JsonView list = FIB_TRY(view.at(key));
  const std::vector<JsonView> items = FIB_TRY(list.array());
  if (items.size() != numbers.size()) {
    return list.error(fmt::format("{} numbers, expected {}", items.size(), numbers.size()));
  }
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = FIB_TRY(whole<T>(items[i]));
  return {};
}

Result<bool> flag_at(const JsonView& view, std::string_view key) {
  return FIB_TRY(view.at(key)).boolean();
}

Result<FibPlanPointer> pointer_at(const JsonView& view, std::string_view key) {
  std::array<int64_t, 3> parts{};
  FIB_CHECK(read_numbers<int64_t>(view, key, parts));
  FibPlanPointer pointer{static_cast<int32_t>(parts[0]), static_cast<int32_t>(parts[1]), parts[2]};
  if (pointer.space == parts[0] && pointer.index == parts[1]) return pointer;
  return FIB_TRY(view.at(key)).error("a space and an index that fit 32 bits are expected");
}

Result<std::vector<std::byte>> from_hex(const JsonView& view) {
  const std::string text = FIB_TRY(view.string());
  const auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  std::vector<std::byte> bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    if (digit(text[i]) < 0 || digit(text[i + 1]) < 0) break;
    bytes.push_back(static_cast<std::byte>(digit(text[i]) << 4 | digit(text[i + 1])));
  }
  if (2 * bytes.size() == text.size()) return bytes;
  return view.error("pairs of the digits 0-9 and a-f are expected");
}

Result<FibPlanTensorMap> tensor_map_from_json(const JsonView& view) {
  FIB_CHECK(
      view.only_keys({"base", "dtype", "rank", "size", "stride_bytes", "box", "element_stride",
                      "interleave", "swizzle", "l2_promotion", "oob_fill"}));
  FibPlanTensorMap map{};
  map.base = FIB_TRY(pointer_at(view, "base"));
  map.dtype = FIB_TRY(whole_at<int32_t>(view, "dtype"));
  map.rank = FIB_TRY(whole_at<uint32_t>(view, "rank"));
  FIB_CHECK(read_numbers<uint64_t>(view, "size", map.size));
  FIB_CHECK(read_numbers<uint64_t>(view, "stride_bytes", map.stride_bytes));
  FIB_CHECK(read_numbers<uint32_t>(view, "box", map.box));
  FIB_CHECK(read_numbers<uint32_t>(view, "element_stride", map.element_stride));
  map.interleave = FIB_TRY(whole_at<int32_t>(view, "interleave"));
  map.swizzle = FIB_TRY(whole_at<int32_t>(view, "swizzle"));
  map.l2_promotion = FIB_TRY(whole_at<int32_t>(view, "l2_promotion"));
  map.oob_fill = FIB_TRY(whole_at<int32_t>(view, "oob_fill"));
  return map;
}

Result<PlannedArgument> argument_from_json(const JsonView& view) {
  FIB_CHECK(view.only_keys({"pointer", "bytes", "tensor_map"}));
  if (view.contains("pointer")) return PlannedArgument{FIB_TRY(pointer_at(view, "pointer"))};
  if (view.contains("bytes")) return PlannedArgument{FIB_TRY(from_hex(FIB_TRY(view.at("bytes"))))};
  return PlannedArgument{FIB_TRY(tensor_map_from_json(FIB_TRY(view.at("tensor_map"))))};
}

Result<PlannedMemset> memset_from_json(const JsonView& view) {
  FIB_CHECK(view.only_keys({"memset", "bytes", "value", "is_prepare"}));
  return PlannedMemset{.target = FIB_TRY(pointer_at(view, "memset")),
                       .bytes = FIB_TRY(whole_at<uint64_t>(view, "bytes")),
                       .value = FIB_TRY(whole_at<uint8_t>(view, "value")),
                       .is_prepare = FIB_TRY(flag_at(view, "is_prepare"))};
}

Result<PlannedLaunch> launch_from_json(const JsonView& view) {
  FIB_CHECK(view.only_keys({"kernel", "grid", "block", "cluster", "shared_bytes", "is_cooperative",
                            "is_programmatic", "is_prepare", "arguments"}));
  PlannedLaunch launch{.kernel = FIB_TRY(FIB_TRY(view.at("kernel")).string())};
  FIB_CHECK(read_numbers<uint32_t>(view, "grid", launch.grid));
  FIB_CHECK(read_numbers<uint32_t>(view, "block", launch.block));
  FIB_CHECK(read_numbers<uint32_t>(view, "cluster", launch.cluster));
  launch.shared_bytes = FIB_TRY(whole_at<uint32_t>(view, "shared_bytes"));
  launch.is_cooperative = FIB_TRY(flag_at(view, "is_cooperative"));
  launch.is_programmatic = FIB_TRY(flag_at(view, "is_programmatic"));
  launch.is_prepare = FIB_TRY(flag_at(view, "is_prepare"));
  for (const JsonView& argument : FIB_TRY(FIB_TRY(view.at("arguments")).array())) {
    launch.arguments.push_back(FIB_TRY(argument_from_json(argument)));
  }
  return launch;
}

}  // namespace

Json plan_to_json(const LaunchPlan& plan) {
  Json steps = Json::array();
  for (const auto& step : plan.steps) {
    steps.push_back(std::visit([](const auto& s) { return step_to_json(s); }, step));
  }
  return Json{{"workspace_bytes", plan.workspace_bytes},
              {"prepared_bytes", plan.prepared_bytes},
              {"steps", std::move(steps)}};
}

Result<LaunchPlan> plan_from_json(const Json& json) {
  const JsonView view(json, kWhere);
  FIB_CHECK(view.only_keys({"workspace_bytes", "prepared_bytes", "steps"}));
  LaunchPlan plan{.workspace_bytes = FIB_TRY(whole_at<uint64_t>(view, "workspace_bytes")),
                  .prepared_bytes = FIB_TRY(whole_at<uint64_t>(view, "prepared_bytes"))};
  for (const JsonView& step : FIB_TRY(FIB_TRY(view.at("steps")).array())) {
    if (step.contains("memset")) {
      plan.steps.emplace_back(FIB_TRY(memset_from_json(step)));
    } else {
      plan.steps.emplace_back(FIB_TRY(launch_from_json(step)));
    }
  }
  return plan;
}

}  // namespace fib
