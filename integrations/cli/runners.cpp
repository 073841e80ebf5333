#include "integrations/cli/runners.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "integrations/cli/text.h"
#include "runners/cpu/cpu_runner.h"

namespace fib {

namespace {

RunnerOptions runner_options(const Context& context) {
  return {.cache_folder = context.cache_folder / kBuildsFolder,
          .worker_executable = context.executable,
          .include_folder = context.home.abi()};
}

}  // namespace

CudaRunnerOptions cuda_options(const Context& context) {
  return {.runner = runner_options(context),
          .search = context.cuda_search,
          .device_source_folder = context.home.device_sources(),
          .worker_environment = context.profiler_variables};
}

std::vector<std::unique_ptr<Runner>> make_runners(const Context& context, int max_compiles) {
  std::vector<std::unique_ptr<Runner>> runners;
  CudaRunnerOptions cuda = cuda_options(context);
  cuda.max_compiles = max_compiles;
  runners.push_back(make_cuda_runner(std::move(cuda)));
  runners.push_back(make_cpu_runner(runner_options(context)));
  return runners;
}

Result<Runner*> find_runner(const std::vector<std::unique_ptr<Runner>>& runners,
                            std::string_view target) {
  std::vector<std::string_view> targets;
  for (const auto& runner : runners) {
    targets.push_back(runner->target());
    if (runner->target() != target) continue;
    const Support support = runner->available();
    if (support.ok) return runner.get();
    return fail(ErrorCode::kEnvironment,
                fmt::format("target '{}' can't run here: {}", target, support.reason), "",
                support.remedy);
  }
  return fail(ErrorCode::kInvalidInput, fmt::format("there is no target '{}'", target), "--target",
              fmt::format("one of: {}", fmt::join(targets, ", ")));
}

Result<std::vector<DeviceInfo>> parse_devices(const Runner& runner, std::string_view text) {
  const std::vector<DeviceInfo> present = runner.devices();
  if (text == "all") return present;
  std::vector<DeviceInfo> chosen;
  for (const std::string& part : split(text, ',')) {
    int index = 0;
    const auto [end, trouble] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_number = trouble == std::errc() && end == part.data() + part.size();
    const auto has_index = [&](const DeviceInfo& device) { return device.index == index; };
    const auto found = std::find_if(present.begin(), present.end(), has_index);
    if (!is_number || found == present.end()) {
      std::vector<int> indices;
      for (const DeviceInfo& device : present) indices.push_back(device.index);
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("there is no {} device '{}'", runner.target(), part), "--device",
                  fmt::format("'all' or one of: {}", fmt::join(indices, ", ")));
    }
    // One device measures one thing at a time, however often it is named.
    if (std::none_of(chosen.begin(), chosen.end(), has_index)) chosen.push_back(*found);
  }
  return chosen;
}

}  // namespace fib
