#include "runners/cuda/cuda_worker.h"

#include <cstring>
#include <optional>
#include <utility>

#include "runners/cuda/device_measure.h"
#include "runners/cuda/device_probe.h"

namespace fib {
namespace {

// Everything of one session, made by its first message.
class Server {
 public:
  Result<Json> answer(Message& message) {
    const Json& request = message.body;
    const std::string command = request.at("command");
    if (command == "probe") return probe_devices(request.at("nvml").get<std::string>());
    if (command == "open") return open(message);
    if (!resources_) return fail(ErrorCode::kInvalidInput, "not open", "cuda worker");
    if (command == "begin") {
      measure_.reset();  // its memory first
      measure_.emplace(*resources_, device_problem_from_json(request.at("problem")));
      return Json::object();
    }
    if (!measure_) return fail(ErrorCode::kInvalidInput, "no problem", "cuda worker");
    if (command == "upload") {
      FIB_CHECK(measure_->upload(request.at("original"), request.at("offset"),
                                 staged(request.at("bytes"))));
      return Json::object();
    }
    if (command == "load") return load(request);
    if (command == "check") return check(request);
    if (command == "block") {
      return to_json(FIB_TRY(measure_->block(block_request_from_json(request.at("request")))));
    }
    if (command == "compare") {
      const CompareRequest compare = compare_request_from_json(request.at("request"));
      return Json{{"stats", to_json(FIB_TRY(measure_->compare(compare, staging_->bytes())))}};
    }
    if (command == "fetch") {
      const FetchRequest fetch = fetch_request_from_json(request.at("request"));
      return Json{{"versions", FIB_TRY(measure_->fetch(fetch, staging_->bytes()))}};
    }
    return fail(ErrorCode::kInvalidInput, "unknown command " + command, "cuda worker");
  }

 private:
  std::span<const std::byte> staged(uint64_t bytes) const {
    return staging_->bytes().first(bytes);
  }

  Result<Json> open(Message& message) {
    const Json& request = message.body;
    staging_ = FIB_TRY(SharedMemory::adopt(std::exchange(message.fds.at(0), -1), kStagingBytes));
    Json hello;
    hello["notes"] = Json::array();
    // CUPTI first: it doesn't see contexts that are older than itself.
    if (const std::string cupti = request.at("cupti"); !cupti.empty()) {
      auto clock = open_cupti_clock(cupti);
      if (clock) {
        clock_ = *std::move(clock);
      } else {
        hello["notes"].push_back("timed with CUDA events: " + clock.error().to_string());
      }
    } else {
      hello["notes"].push_back("timed with CUDA events: " +
                               request.at("cupti_reason").get<std::string>());
    }
    context_ = FIB_TRY(DeviceContext::open(FIB_TRY(CudaDriver::open()), request.at("index")));
    const CudaDriver& driver = context_->driver();  // which lives as long as what refers to it here
    if (!clock_) clock_ = make_event_clock(driver);
    kernels_ = FIB_TRY(HarnessKernels::load(*context_, staged(request.at("cubin_bytes"))));
    if (auto nvml = Nvml::open(request.at("nvml").get<std::string>())) {
      nvml_ = *std::move(nvml);
      if (auto device = nvml_->device(context_->facts().pci_bus_id)) nvml_device_ = *device;
    }
    // Page-locked, so that copies out of it run at the bus's speed.
    driver.cuMemHostRegister(staging_->bytes().data(), staging_->bytes().size(), 0);
    const auto memory = [&] { return DeviceMemory(driver); };
    resources_.emplace(DeviceResources{
        .context = *context_,
        .kernels = *kernels_,
        .clock = *clock_,
        .nvml = nvml_device_ ? nvml_.get() : nullptr,
        .nvml_device = nvml_device_,
        .arena = memory(),
        .originals = memory(),
        .kept = memory(),
        .expected = memory(),
        .stats = memory(),
        .report = memory(),
        .report_copy = FIB_TRY(PinnedMemory::allocate(driver, sizeof(CallReport))),
        .progress = FIB_TRY(PinnedMemory::allocate(driver, sizeof(uint32_t))),
    });
    hello["clock"] = static_cast<int>(clock_->kind());
    return hello;
  }

  Result<Json> load(const Json& request) {
    LoweredNames names;
    for (const Json& pair : request.at("names")) names.emplace_back(pair.at(0), pair.at(1));
    LaunchPlan plan = FIB_TRY(plan_from_json(request.at("plan")));
    Json answer = Json::object();
    if (auto fault = measure_->load(request.at("contender"), staged(request.at("cubin_bytes")),
                                    std::move(names), std::move(plan))) {
      answer["fault"] = to_json(*fault);
    }
    return answer;
  }

  Result<Json> check(const Json& request) {
    const DeviceMeasure::CheckAnswer checked =
        FIB_TRY(measure_->check(request.at("contender"), request.at("set"), request.at("seed")));
    Json answer{{"lost", checked.lost}, {"prepare_ns", checked.prepare_ns}};
    if (checked.fault) answer["fault"] = to_json(*checked.fault);
    return answer;
  }

  std::optional<SharedMemory> staging_;
  std::unique_ptr<DeviceContext> context_;
  std::unique_ptr<DeviceClock> clock_;
  std::optional<HarnessKernels> kernels_;
  std::unique_ptr<Nvml> nvml_;
  void* nvml_device_ = nullptr;
  std::optional<DeviceResources> resources_;
  std::optional<DeviceMeasure> measure_;
};

}  // namespace

int run_cuda_worker(Channel channel, std::span<char*>) {
  Server server;
  const int code = serve_worker(std::move(channel), [&](Message& m) { return server.answer(m); });
  // The parent is gone or done. The driver's own teardown of a broken context can hang; the
  // operating system's can't.
  std::_Exit(code);
}

}  // namespace fib
