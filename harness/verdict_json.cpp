#include "harness/verdict_json.h"

#include <cmath>

#include "harness/verdict.h"

namespace fib {
namespace {

template <class Enum, class NameOf>
Result<Enum> enum_from_name(const JsonView& view, NameOf name_of, int count) {
  const std::string name = FIB_TRY(view.string());
  for (int i = 0; i < count; ++i) {
    if (name_of(static_cast<Enum>(i)) == name) return static_cast<Enum>(i);
  }
  return view.error("unknown value '" + name + "'");
}

Result<uint32_t> read_u32(const JsonView& view, std::string_view key) {
  return static_cast<uint32_t>(FIB_TRY(FIB_TRY(view.at(key)).integer()));
}
Result<int64_t> read_i64(const JsonView& view, std::string_view key) {
  return FIB_TRY(view.at(key)).integer();
}
Result<double> read_number(const JsonView& view, std::string_view key) {
  return FIB_TRY(view.at(key)).number();
}
Result<std::string> read_string(const JsonView& view, std::string_view key) {
  return FIB_TRY(view.at(key)).string();
}
Result<bool> read_bool(const JsonView& view, std::string_view key) {
  return FIB_TRY(view.at(key)).boolean();
}

Json optional_to_json(const std::optional<double>& value) {
  return value ? number_to_json(*value) : Json();
}

// Absent in verdicts that were stored before the field was.
Result<std::optional<double>> read_optional(const JsonView& view, std::string_view key) {
  const auto found = view.find(key);
  if (!found) return std::nullopt;
  return FIB_TRY(found->number());
}
Result<std::string> read_later_string(const JsonView& view, std::string_view key) {
  return view.find(key) ? read_string(view, key) : std::string();
}

Json device_to_json(const DeviceInfo& device) {
  Json libraries = Json::object();
  for (const auto& [name, version] : device.libraries) libraries[name] = version;
  return {{"target", device.target},
          {"index", device.index},
          {"name", device.name},
          {"key", device.key},
          {"architecture", device.architecture},
          {"threads", device.threads},
          {"multiprocessors", device.multiprocessors},
          {"memory_bytes", device.memory_bytes},
          {"l2_bytes", device.l2_bytes},
          {"bandwidth_gbps", device.bandwidth_gbps},
          {"tensor_tflops", device.tensor_tflops},
          {"fp32_tflops", device.fp32_tflops},
          {"ceilings_source", device.ceilings_source},
          {"libraries", libraries}};
}

Result<DeviceInfo> device_from_json(const JsonView& view) {
  DeviceInfo device;
  device.target = FIB_TRY(read_string(view, "target"));
  device.index = static_cast<int>(FIB_TRY(read_i64(view, "index")));
  device.name = FIB_TRY(read_string(view, "name"));
  device.key = FIB_TRY(read_string(view, "key"));
  device.architecture = FIB_TRY(read_string(view, "architecture"));
  device.threads = static_cast<int>(FIB_TRY(read_i64(view, "threads")));
  device.multiprocessors = static_cast<int>(FIB_TRY(read_i64(view, "multiprocessors")));
  device.memory_bytes = static_cast<size_t>(FIB_TRY(read_i64(view, "memory_bytes")));
  device.l2_bytes = static_cast<size_t>(FIB_TRY(read_i64(view, "l2_bytes")));
  device.bandwidth_gbps = FIB_TRY(read_number(view, "bandwidth_gbps"));
  device.tensor_tflops = FIB_TRY(read_number(view, "tensor_tflops"));
  device.fp32_tflops = FIB_TRY(read_number(view, "fp32_tflops"));
  device.ceilings_source = FIB_TRY(read_string(view, "ceilings_source"));
  for (const auto& [name, version] : FIB_TRY(FIB_TRY(view.at("libraries")).object())) {
    device.libraries.emplace_back(name, FIB_TRY(version.string()));
  }
  return device;
}

Json output_to_json(const OutputVerdict& output) {
  return {{"name", output.name},
          {"passed", output.passed},
          {"honest_ratio", number_to_json(output.honest_ratio)},
          {"honest_relative_rms", number_to_json(output.honest_relative_rms)},
          {"errors", error_stats_to_json(output.stats)}};
}

Result<OutputVerdict> output_from_json(const JsonView& view) {
  OutputVerdict output;
  output.name = FIB_TRY(read_string(view, "name"));
  output.passed = FIB_TRY(read_bool(view, "passed"));
  output.honest_ratio = FIB_TRY(read_number(view, "honest_ratio"));
  output.honest_relative_rms = FIB_TRY(read_number(view, "honest_relative_rms"));
  output.stats = FIB_TRY(error_stats_from_json(FIB_TRY(view.at("errors"))));
  return output;
}

Json timing_to_json(const ModeSummary& timing) {
  return {{"mode", timing_mode_name(timing.mode)},
          {"clock", clock_name(timing.clock)},
          {"median_ns", timing.latency_ns.median},
          {"low_ns", timing.latency_ns.low},
          {"high_ns", timing.latency_ns.high},
          {"samples", timing.samples},
          {"throttled", timing.throttled}};
}

Result<ModeSummary> timing_from_json(const JsonView& view) {
  ModeSummary timing;
  timing.mode = FIB_TRY(enum_from_name<TimingMode>(FIB_TRY(view.at("mode")), timing_mode_name, 3));
  timing.clock = FIB_TRY(enum_from_name<Clock>(FIB_TRY(view.at("clock")), clock_name, 3));
  timing.latency_ns.median = FIB_TRY(read_number(view, "median_ns"));
  timing.latency_ns.low = FIB_TRY(read_number(view, "low_ns"));
  timing.latency_ns.high = FIB_TRY(read_number(view, "high_ns"));
  timing.samples = FIB_TRY(read_i64(view, "samples"));
  timing.throttled = FIB_TRY(read_bool(view, "throttled"));
  return timing;
}

Json kernel_to_json(const KernelShare& kernel) {
  return {{"name", kernel.name},
          {"share", kernel.share},
          {"registers", kernel.registers},
          {"shared_bytes", kernel.shared_bytes},
          {"grid", {kernel.grid[0], kernel.grid[1], kernel.grid[2]}},
          {"block", {kernel.block[0], kernel.block[1], kernel.block[2]}}};
}

Result<KernelShare> kernel_from_json(const JsonView& view) {
  KernelShare kernel;
  kernel.name = FIB_TRY(read_string(view, "name"));
  kernel.share = FIB_TRY(read_number(view, "share"));
  kernel.registers = FIB_TRY(read_u32(view, "registers"));
  kernel.shared_bytes = FIB_TRY(read_u32(view, "shared_bytes"));
  const auto read_dims = [&](std::string_view key, uint32_t (&dims)[3]) -> Result<void> {
    const auto items = FIB_TRY(FIB_TRY(view.at(key)).array());
    if (items.size() != 3) return view.error(std::string(key) + " needs three numbers");
    for (int i = 0; i < 3; ++i) dims[i] = static_cast<uint32_t>(FIB_TRY(items[i].integer()));
    return {};
  };
  FIB_CHECK(read_dims("grid", kernel.grid));
  FIB_CHECK(read_dims("block", kernel.block));
  return kernel;
}

Json roofline_to_json(const Roofline& roofline) {
  return {{"bytes", roofline.bytes},
          {"flops", roofline.flops},
          {"floor_ns", roofline.floor_ns},
          {"fraction", roofline.fraction},
          {"bound", roofline.bound}};
}

Result<Roofline> roofline_from_json(const JsonView& view) {
  Roofline roofline;
  roofline.bytes = FIB_TRY(read_number(view, "bytes"));
  roofline.flops = FIB_TRY(read_number(view, "flops"));
  roofline.floor_ns = FIB_TRY(read_number(view, "floor_ns"));
  roofline.fraction = FIB_TRY(read_number(view, "fraction"));
  roofline.bound = FIB_TRY(read_string(view, "bound"));
  return roofline;
}

template <class T, class ToJson>
Json list_to_json(const std::vector<T>& items, ToJson to_json) {
  Json list = Json::array();
  for (const T& item : items) list.push_back(to_json(item));
  return list;
}

template <class T, class FromJson>
Result<std::vector<T>> list_from_json(const JsonView& view, std::string_view key,
                                      FromJson from_json) {
  std::vector<T> list;
  for (const JsonView& item : FIB_TRY(FIB_TRY(view.at(key)).array())) {
    list.push_back(FIB_TRY(from_json(item)));
  }
  return list;
}

}  // namespace

Json number_to_json(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

Json error_stats_to_json(const ErrorStats& stats) {
  return {{"count", stats.count},
          {"nonfinite_mismatches", stats.nonfinite_mismatches},
          {"first_bad_index", stats.first_bad_index},
          {"elements_over_bound", stats.elements_over_bound},
          {"sum_squared_error", number_to_json(stats.sum_squared_error)},
          {"sum_squared_reference", number_to_json(stats.sum_squared_reference)},
          {"max_absolute_error", number_to_json(stats.max_absolute_error)},
          {"max_relative_error", number_to_json(stats.max_relative_error)},
          {"max_normalised_error", number_to_json(stats.max_normalised_error)},
          {"histogram", stats.histogram}};
}

Result<ErrorStats> error_stats_from_json(const JsonView& view) {
  ErrorStats stats;
  stats.count = FIB_TRY(read_i64(view, "count"));
  stats.nonfinite_mismatches = FIB_TRY(read_i64(view, "nonfinite_mismatches"));
  stats.first_bad_index = FIB_TRY(read_i64(view, "first_bad_index"));
  stats.elements_over_bound = FIB_TRY(read_i64(view, "elements_over_bound"));
  stats.sum_squared_error = FIB_TRY(read_number(view, "sum_squared_error"));
  stats.sum_squared_reference = FIB_TRY(read_number(view, "sum_squared_reference"));
  stats.max_absolute_error = FIB_TRY(read_number(view, "max_absolute_error"));
  stats.max_relative_error = FIB_TRY(read_number(view, "max_relative_error"));
  stats.max_normalised_error = FIB_TRY(read_number(view, "max_normalised_error"));
  const auto bins = FIB_TRY(FIB_TRY(view.at("histogram")).array());
  if (bins.size() != stats.histogram.size()) return view.error("histogram needs 16 bins");
  for (size_t i = 0; i < bins.size(); ++i) stats.histogram[i] = FIB_TRY(bins[i].integer());
  return stats;
}

Json verdict_to_json(const Verdict& verdict) {
  Json json = {
      {"format", "fib-verdict-1"},
      {"id", verdict.id},
      {"solution", verdict.solution},
      {"solution_key", verdict.solution_key},
      {"signature", verdict.signature},
      {"workload", verdict.workload},
      {"axes", verdict.axes},
      {"workload_weight", verdict.workload_weight},
      {"status", trace_status_name(verdict.status)},
      {"reason", verdict.reason},
      {"message", verdict.message},
      {"outputs", list_to_json(verdict.outputs, output_to_json)},
      {"timings", list_to_json(verdict.timings, timing_to_json)},
      {"roofline", roofline_to_json(verdict.roofline)},
      {"kernels", list_to_json(verdict.kernels, kernel_to_json)},
      {"calls_checked", verdict.calls_checked},
      {"calls_timed", verdict.calls_timed},
      {"build_ms", verdict.build_ms},
      {"build_cached", verdict.build_cached},
      {"workspace_bytes", verdict.workspace_bytes},
      {"prepare_ns", verdict.prepare_ns},
      {"prepared_bytes", verdict.prepared_bytes},
      {"paired", paired_result_name(verdict.paired)},
      {"incumbent", verdict.incumbent},
      {"incumbent_key", verdict.incumbent_key},
      {"speedup", optional_to_json(verdict.speedup)},
      {"speedup_low", optional_to_json(verdict.speedup_low)},
      {"speedup_high", optional_to_json(verdict.speedup_high)},
      {"noise_floor", optional_to_json(verdict.noise_floor)},
      {"is_confirmed", verdict.is_confirmed},
      {"paired_note", verdict.paired_note},
      {"device", device_to_json(verdict.device)},
      {"config_key", verdict.config_key},
      {"log", verdict.log},
      {"timestamp", verdict.timestamp},
      {"wall_s", verdict.wall_s},
  };
  return json;
}

Result<Verdict> verdict_from_json(const Json& json, std::string_view where) {
  const JsonView view(json, std::string(where));
  if (FIB_TRY(read_string(view, "format")) != "fib-verdict-1") {
    return view.error("not a verdict of format fib-verdict-1");
  }
  Verdict verdict;
  verdict.id = FIB_TRY(read_i64(view, "id"));
  verdict.solution = FIB_TRY(read_string(view, "solution"));
  verdict.solution_key = FIB_TRY(read_string(view, "solution_key"));
  verdict.signature = FIB_TRY(read_string(view, "signature"));
  verdict.workload = FIB_TRY(read_string(view, "workload"));
  verdict.axes = FIB_TRY(view.at("axes")).json();
  verdict.workload_weight = FIB_TRY(read_number(view, "workload_weight"));
  const auto status = trace_status_from_name(FIB_TRY(read_string(view, "status")));
  if (!status) return FIB_TRY(view.at("status")).error("unknown status");
  verdict.status = *status;
  verdict.reason = FIB_TRY(read_string(view, "reason"));
  verdict.message = FIB_TRY(read_string(view, "message"));
  verdict.outputs = FIB_TRY(list_from_json<OutputVerdict>(view, "outputs", output_from_json));
  verdict.timings = FIB_TRY(list_from_json<ModeSummary>(view, "timings", timing_from_json));
  verdict.roofline = FIB_TRY(roofline_from_json(FIB_TRY(view.at("roofline"))));
  verdict.kernels = FIB_TRY(list_from_json<KernelShare>(view, "kernels", kernel_from_json));
  verdict.calls_checked = FIB_TRY(read_i64(view, "calls_checked"));
  verdict.calls_timed = FIB_TRY(read_i64(view, "calls_timed"));
  verdict.build_ms = FIB_TRY(read_number(view, "build_ms"));
  verdict.build_cached = FIB_TRY(read_bool(view, "build_cached"));
  verdict.workspace_bytes = static_cast<size_t>(FIB_TRY(read_i64(view, "workspace_bytes")));
  verdict.prepare_ns = FIB_TRY(read_number(view, "prepare_ns"));
  verdict.prepared_bytes = static_cast<size_t>(FIB_TRY(read_i64(view, "prepared_bytes")));
  verdict.paired =
      FIB_TRY(enum_from_name<PairedResult>(FIB_TRY(view.at("paired")), paired_result_name, 5));
  verdict.incumbent = FIB_TRY(read_string(view, "incumbent"));
  verdict.incumbent_key = FIB_TRY(read_later_string(view, "incumbent_key"));
  verdict.speedup = FIB_TRY(read_optional(view, "speedup"));
  verdict.speedup_low = FIB_TRY(read_optional(view, "speedup_low"));
  verdict.speedup_high = FIB_TRY(read_optional(view, "speedup_high"));
  verdict.noise_floor = FIB_TRY(read_optional(view, "noise_floor"));
  if (view.find("is_confirmed")) verdict.is_confirmed = FIB_TRY(read_bool(view, "is_confirmed"));
  verdict.paired_note = FIB_TRY(read_later_string(view, "paired_note"));
  verdict.device = FIB_TRY(device_from_json(FIB_TRY(view.at("device"))));
  verdict.config_key = FIB_TRY(read_string(view, "config_key"));
  verdict.log = FIB_TRY(read_string(view, "log"));
  verdict.timestamp = FIB_TRY(read_string(view, "timestamp"));
  verdict.wall_s = FIB_TRY(read_number(view, "wall_s"));
  return verdict;
}

}  // namespace fib
