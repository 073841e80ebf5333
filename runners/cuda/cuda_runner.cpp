#include "runners/cuda/cuda_runner.h"

#include <fmt/format.h>

#include <mutex>
#include <optional>

#include "runners/cuda/cuda_build.h"
#include "runners/cuda/cuda_planner.h"
#include "runners/cuda/cuda_session.h"
#include "runners/cuda/device_probe.h"
#include "runners/worker/header_digests.h"

namespace fib {
namespace {

constexpr double kProbeSeconds = 60.0;

struct Probe {
  Json answer;
  std::unique_ptr<WorkerProcess> worker;  // with the driver up, and no context yet
};

Result<Probe> probe_in_worker(const CudaRunnerOptions& options) {
  const auto nvml = find_cuda_library(options.search, CudaLibrary::kNvml);
  auto worker = FIB_TRY(
      WorkerProcess::start({.executable = options.runner.worker_executable,
                            .kind = "cuda",
                            .environment = options.worker_environment}));
  Message answer = FIB_TRY(worker->call(
      {{"command", "probe"}, {"nvml", nvml ? nvml->string() : "libnvidia-ml.so.1"}}, {},
      deadline_in(kProbeSeconds)));
  return Probe{std::move(answer.body), std::move(worker)};
}

class CudaRunner : public Runner {
 public:
  explicit CudaRunner(CudaRunnerOptions options) : options_(std::move(options)) {}

  std::string_view target() const override { return "cuda"; }

  Support available() const override {
    const auto nvrtc = find_cuda_library(options_.search, CudaLibrary::kNvrtc);
    if (!nvrtc) return {false, nvrtc.error().message, nvrtc.error().remedy};
    const Result<Probe>& probed = probe();
    if (!probed) return {false, probed.error().message, probed.error().remedy};
    if (probed->answer.at("devices").empty()) {
      return {false, "the CUDA driver lists no device", "check that nvidia-smi lists one"};
    }
    return {.ok = true};
  }

  Support supports(const Solution& solution, const Signature& signature) const override {
    const auto manifest = manifest_of(solution);
    if (!manifest) return {false, manifest.error().message, manifest.error().remedy};
    if (manifest->target != "cuda") {
      return {false, fmt::format("{} is a {} solution", solution.name, manifest->target),
              "run it on that target"};
    }
    if (!solution_fits(solution, signature)) {
      return {false,
              fmt::format("{} was written for {}", solution.name, solution.definition),
              "choose a workload of that signature"};
    }
    return {.ok = true};
  }

  std::vector<DeviceInfo> devices() const override {
    std::vector<DeviceInfo> devices;
    const Result<Probe>& probed = probe();
    if (!probed) return devices;
    for (const Json& device : probed->answer.at("devices")) {
      devices.push_back(describe(device));
    }
    return devices;
  }

  Result<BuildOutcome> build(const BuildRequest& request) override {
    return FIB_TRY(builder())->build(request);
  }

  Result<std::unique_ptr<Session>> open_session(int index) override {
    const Result<Probe>& probed = probe();
    if (!probed) return fail(probed.error());
    const Json& devices = probed->answer.at("devices");
    if (index < 0 || static_cast<size_t>(index) >= devices.size()) {
      return fail(ErrorCode::kNotFound,
                  fmt::format("no device {}, there are {}", index, devices.size()));
    }
    const Json& device = devices.at(static_cast<size_t>(index));
    CudaSessionOptions session{.worker_executable = options_.runner.worker_executable,
                               .worker_environment = options_.worker_environment,
                               .device = describe(device),
                               .plan_device = plan_device_from_json(device)};
    session.harness_cubin =
        FIB_TRY(FIB_TRY(builder())->harness_kernels(session.device.architecture));
    const auto nvml = find_cuda_library(options_.search, CudaLibrary::kNvml);
    session.nvml_library = nvml ? nvml->string() : "libnvidia-ml.so.1";
    if (auto cupti = find_cuda_library(options_.search, CudaLibrary::kCupti)) {
      session.cupti_library = cupti->string();
    } else {
      session.cupti_reason = cupti.error().to_string();
    }
    session.worker = take_probe_worker();
    return open_cuda_session(std::move(session), make_cuda_planner(options_.runner));
  }

 private:
  // A card of the probe's answer, with what code for it is made of.
  DeviceInfo describe(const Json& device) const {
    DeviceInfo info = device_info_from_json(device);
    if (const auto digests = header_digests(options_.runner.include_folder, "cuda")) {
      info.libraries.emplace_back(kHeadersLibrary, header_digests_text(*digests));
    }
    return info;
  }

  // Asked once a process: cards don't come and go.
  const Result<Probe>& probe() const {
    const std::lock_guard lock(mutex_);
    if (!probed_) probed_ = probe_in_worker(options_);
    return *probed_;
  }

  // The first session goes on with it: a second start of the driver would cost 0.2 s.
  std::unique_ptr<WorkerProcess> take_probe_worker() {
    const std::lock_guard lock(mutex_);
    return std::move((*probed_)->worker);
  }

  Result<CudaBuilder*> builder() {
    const std::lock_guard lock(mutex_);
    if (!builder_) {
      builder_ = FIB_TRY(CudaBuilder::open({.runner = options_.runner,
                                            .search = options_.search,
                                            .device_source_folder = options_.device_source_folder,
                                            .max_compiles = options_.max_compiles}));
    }
    return builder_.get();
  }

  const CudaRunnerOptions options_;
  mutable std::mutex mutex_;
  mutable std::optional<Result<Probe>> probed_;
  std::unique_ptr<CudaBuilder> builder_;
};

CudaFinding library_finding(const CudaSearch& search, CudaLibrary library) {
  CudaFinding finding{.name = std::string(cuda_library_name(library))};
  if (auto path = find_cuda_library(search, library)) {
    finding.ok = true;
    finding.path = path->string();
  } else {
    finding.reason = path.error().message;
    finding.remedy = path.error().remedy;
  }
  return finding;
}

}  // namespace

std::unique_ptr<Runner> make_cuda_runner(CudaRunnerOptions options) {
  return std::make_unique<CudaRunner>(std::move(options));
}

CudaStatus probe_cuda(const CudaRunnerOptions& options) {
  CudaStatus status;
  CudaFinding driver{.name = "driver"};
  const Result<Probe> probed = probe_in_worker(options);
  if (probed) {
    driver.ok = true;
    driver.path = "libcuda.so.1";
    driver.version = fmt::format("{} (CUDA {})", probed->answer.at("driver_version").get<std::string>(),
                                 probed->answer.at("cuda_version").get<std::string>());
    for (const Json& device : probed->answer.at("devices")) {
      const uint64_t reasons = device.value("throttle_reasons", uint64_t{0});
      status.devices.push_back({.index = device.at("index"),
                                .name = device.at("name"),
                                .architecture = device.at("architecture"),
                                .memory_bytes = device.at("memory_bytes"),
                                .sm_clock_mhz = device.value("sm_clock_mhz", 0u),
                                .max_sm_clock_mhz = device.value("max_sm_clock_mhz", 0u),
                                .memory_clock_mhz = device.value("memory_clock_mhz", 0u),
                                .temperature_c = device.value("temperature_c", 0u),
                                .power_w = device.value("power_w", 0.0),
                                .throttle_reasons = static_cast<uint32_t>(reasons),
                                .throttle_text = describe_throttle_reasons(reasons)});
    }
  } else {
    driver.reason = probed.error().message;
    driver.remedy = probed.error().remedy;
  }
  status.findings.push_back(std::move(driver));

  CudaFinding nvrtc = library_finding(options.search, CudaLibrary::kNvrtc);
  if (nvrtc.ok) {
    // Only a compile worker may load it.
    NvrtcFarm farm({.worker_executable = options.runner.worker_executable, .library = nvrtc.path});
    if (auto version = farm.version()) {
      nvrtc.version = *version;
    } else {
      nvrtc.ok = false;
      nvrtc.reason = version.error().message;
      nvrtc.remedy = version.error().remedy;
    }
  }
  status.findings.push_back(std::move(nvrtc));
  status.findings.push_back(library_finding(options.search, CudaLibrary::kCupti));
  status.findings.push_back(library_finding(options.search, CudaLibrary::kNvml));
  CudaFinding headers{.name = "headers"};
  if (const auto folder = find_cuda_headers(options.search)) {
    headers.ok = true;
    headers.path = folder->string();
  } else {
    headers.reason = "no folder with cuda_fp16.h; kernels that include CUDA's headers won't compile";
    headers.remedy = "run scripts/quickstart --cuda, or pip install nvidia-cuda-runtime";
  }
  status.findings.push_back(std::move(headers));
  return status;
}

}  // namespace fib
