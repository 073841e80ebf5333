#include "runners/cpu/cpu_runner.h"

#include <fmt/format.h>

#include <mutex>
#include <optional>

#include "runners/cpu/cpu_build.h"
#include "runners/cpu/cpu_session.h"
#include "runners/cpu/host_cpu.h"
#include "runners/worker/header_digests.h"

namespace fib {
namespace {

class CpuRunner : public Runner {
 public:
  explicit CpuRunner(RunnerOptions options)
      : options_(std::move(options)), toolchain_(find_host_compiler()) {
    if (!toolchain_) return;
    toolchain_->include_folder = std::filesystem::absolute(options_.include_folder);
    toolchain_->flags = cpu_compile_flags();
  }

  std::string_view target() const override { return "cpu"; }

  Support available() const override {
    if (toolchain_) return {.ok = true};
    return {.ok = false, .reason = toolchain_.error().message, .remedy = toolchain_.error().remedy};
  }

  Support supports(const Solution& solution, const Signature& signature) const override {
    const auto manifest = manifest_of(solution);
    if (!manifest) {
      return {.reason = manifest.error().message, .remedy = manifest.error().remedy};
    }
    if (manifest->target != "cpu") {
      return {.reason = fmt::format("'{}' is written for the target '{}', not for 'cpu'",
                                    solution.name, manifest->target),
              .remedy = fmt::format("choose the target '{}'", manifest->target)};
    }
    if (!solution_fits(solution, signature)) {
      return {.reason = fmt::format("'{}' is written for '{}', not for '{}'", solution.name,
                                    solution.definition, signature.name)};
    }
    return {.ok = true};
  }

  std::vector<DeviceInfo> devices() const override { return {device()}; }

  Result<BuildOutcome> build(const BuildRequest& request) override {
    if (!toolchain_) return fail(toolchain_.error());
    const BuildCache cache = FIB_TRY(BuildCache::open(options_.cache_folder / "cpu"));
    return build_cpu_solution(request, *toolchain_, cache);
  }

  Result<std::unique_ptr<Session>> open_session(int device_index) override {
    if (device_index != 0) {
      return fail(ErrorCode::kNotFound,
                  fmt::format("there is no cpu device {}; the machine is device 0", device_index));
    }
    return make_cpu_session(
        {.worker_executable = options_.worker_executable, .device = device()});
  }

 private:
  DeviceInfo device() const {
    const std::lock_guard lock(mutex_);
    if (!device_) {
      device_ = host_device(options_.cache_folder);
      if (toolchain_) device_->libraries.emplace_back("compiler", toolchain_->version);
      if (const auto digests = header_digests(options_.include_folder, "cpu")) {
        device_->libraries.emplace_back(kHeadersLibrary, header_digests_text(*digests));
      }
    }
    return *device_;
  }

  RunnerOptions options_;
  Result<Toolchain> toolchain_;
  mutable std::mutex mutex_;
  mutable std::optional<DeviceInfo> device_;  // measured when first asked for
};

}  // namespace

std::unique_ptr<Runner> make_cpu_runner(RunnerOptions options) {
  return std::make_unique<CpuRunner>(std::move(options));
}

}  // namespace fib
