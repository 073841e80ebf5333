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
          .device_source_folder = context.home.device_sources()};
}

std::vector<std::unique_ptr<Runner>> make_runners(const Context& context) {
  std::vector<std::unique_ptr<Runner>> runners;
  runners.push_back(make_cuda_runner(cuda_options(context)));
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

Result<std::vector<int>> parse_devices(const Runner& runner, std::string_view text) {
  std::vector<int> present;
  for (const DeviceInfo& device : runner.devices()) present.push_back(device.index);
  if (text == "all") return present;
  std::vector<int> chosen;
  for (const std::string& part : split(text, ',')) {
    int index = 0;
    const auto [end, trouble] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_number = trouble == std::errc() && end == part.data() + part.size();
    if (!is_number || std::find(present.begin(), present.end(), index) == present.end()) {
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("there is no {} device '{}'", runner.target(), part), "--device",
                  fmt::format("'all' or one of: {}", fmt::join(present, ", ")));
    }
    // One device measures one thing at a time, however often it is named.
    if (std::find(chosen.begin(), chosen.end(), index) == chosen.end()) chosen.push_back(index);
  }
  return chosen;
}

}  // namespace fib
