#include "integrations/package/cuda_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "integrations/package/dispatch.h"
#include "integrations/package/random_fill.h"

namespace fib {
namespace {

constexpr size_t kFillAlignment = 16;

// How a step is waited for. Nearly all are over within the first span, in which the card is asked
// again and again, as cuStreamSynchronize does by default. Later a pause is a small part of what
// was waited already. The system adds some 50 us to a pause of any length, which is why there are
// none before.
constexpr auto kSpin = std::chrono::milliseconds(20);
constexpr int kPauseShare = 1024;
constexpr auto kLongestPause = std::chrono::microseconds(50);

CUdeviceptr address(const std::byte* data) { return reinterpret_cast<CUdeviceptr>(data); }

// After these every call on the context gives the same error, until the process ends.
bool is_lost(CUresult result) {
  switch (result) {
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_UNKNOWN: return true;
    default: return false;
  }
}

class CudaGraph final : public DeviceGraph {
 public:
  CudaGraph(const CudaDevice& device, CUgraphExec executable)
      : device_(device), executable_(executable) {}
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;
  ~CudaGraph() override {
    if (device_.enter()) driver().cuGraphExecDestroy(executable_);
  }

  Result<void> launch() override {
    FIB_CHECK(device_.enter());
    return device_.check(driver().cuGraphLaunch(executable_, device_.context().stream()),
                         "cuGraphLaunch");
  }

 private:
  const CudaDriver& driver() const { return device_.context().driver(); }
  const CudaDevice& device_;
  CUgraphExec executable_;
};

// An event a mark, made when the mark is first used.
class CudaTimer final : public DeviceTimer {
 public:
  explicit CudaTimer(const CudaDevice& device) : device_(device) {}
  CudaTimer(const CudaTimer&) = delete;
  CudaTimer& operator=(const CudaTimer&) = delete;
  ~CudaTimer() override {
    if (!device_.enter()) return;
    for (const CUevent event : events_) driver().cuEventDestroy(event);
  }

  Result<void> mark(size_t index) override {
    FIB_CHECK(device_.enter());
    while (index >= events_.size()) {
      CUevent event = nullptr;
      FIB_CHECK(device_.check(driver().cuEventCreate(&event, CU_EVENT_DEFAULT), "cuEventCreate"));
      events_.push_back(event);
    }
    // Without the flag an event in a capture is an edge between streams, not a point in time.
    const CUstream stream = device_.context().stream();
    return device_.check(
        device_.is_capturing()
            ? driver().cuEventRecordWithFlags(events_[index], stream, CU_EVENT_RECORD_EXTERNAL)
            : driver().cuEventRecord(events_[index], stream),
        "cuEventRecord");
  }

  Result<double> elapsed_ns(size_t from, size_t to) const override {
    constexpr double kNsPerMs = 1e6;
    FIB_CHECK(device_.enter());
    float elapsed_ms = 0.0f;
    FIB_CHECK(
        device_.check(driver().cuEventElapsedTime(&elapsed_ms, events_.at(from), events_.at(to)),
                      "cuEventElapsedTime"));
    return elapsed_ms * kNsPerMs;
  }

 private:
  const CudaDriver& driver() const { return device_.context().driver(); }
  const CudaDevice& device_;
  std::vector<CUevent> events_;
};

}  // namespace

CudaDevice::CudaDevice(std::unique_ptr<DeviceContext> context, double step_timeout_s)
    : context_(std::move(context)),
      driver_(context_->driver()),
      step_timeout_s_(step_timeout_s),
      info_{.target = "cuda",
            .name = context_->facts().name,
            .architecture = context_->facts().architecture,
            .hardware = hardware_key(context_->facts().name),
            .memory_bytes = static_cast<size_t>(context_->facts().plan.memory_bytes)},
      thread_(std::this_thread::get_id()) {}

CudaDevice::~CudaDevice() {
  // What is freed with the device needs its context. A lost one frees nothing.
  static_cast<void>(enter());
}

Result<void> CudaDevice::enter() const {
  const std::thread::id caller = std::this_thread::get_id();
  if (caller == thread_) return {};
  if (auto entered = context_->enter(); !entered) {
    return fail(explain(std::move(entered).error()));
  }
  thread_ = caller;
  return {};
}

Result<void> CudaDevice::check(CUresult result, std::string_view what) const {
  if (result == CUDA_SUCCESS) return {};
  if (!is_lost(result)) return driver_.check(result, what);
  return fail(ErrorCode::kWorkerLost, fmt::format("{}: {}", what, driver_.describe(result)),
              info_.name, "restart: the process can't use the device any more");
}

Error CudaDevice::explain(Error error) const {
  size_t free = 0, total = 0;
  if (auto healthy = check(driver_.cuMemGetInfo(&free, &total), error.message); !healthy) {
    if (healthy.error().code == ErrorCode::kWorkerLost) return std::move(healthy).error();
  }
  return error;
}

size_t CudaDevice::free_bytes() const { return enter() ? context_->free_bytes() : 0; }

Result<void> CudaDevice::upload(std::byte* to, const std::byte* from, size_t bytes) {
  FIB_CHECK(enter());
  return check(driver_.cuMemcpyHtoDAsync(address(to), from, bytes, context_->stream()), "upload");
}

Result<void> CudaDevice::download(std::byte* to, const std::byte* from, size_t bytes) {
  FIB_CHECK(enter());
  return check(driver_.cuMemcpyDtoHAsync(to, address(from), bytes, context_->stream()), "download");
}

Result<void> CudaDevice::copy(std::byte* to, const std::byte* from, size_t bytes) {
  FIB_CHECK(enter());
  return check(driver_.cuMemcpyDtoDAsync(address(to), address(from), bytes, context_->stream()),
               "copy");
}

Result<void> CudaDevice::fill(std::byte* to, int value, size_t bytes) {
  FIB_CHECK(enter());
  return check(driver_.cuMemsetD8Async(address(to), static_cast<unsigned char>(value), bytes,
                                       context_->stream()),
               "fill");
}

Result<void> CudaDevice::fill_random(std::byte* to, size_t bytes, float scale, uint64_t seed) {
  const RandomFill fill = FIB_TRY(random_fill(bytes, scale, seed));
  if (fill.count == 0) return {};
  if (!kernels_) {
    return fail(ErrorCode::kUnsupported, "nothing is compiled for this device yet", "fill_random",
                "open a dispatch on it first");
  }
  if (address(to) % kFillAlignment != 0) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("the address is no multiple of {}", kFillAlignment), "fill_random");
  }
  FIB_CHECK(enter());
  const Generated& generated = fill.generated;
  FIB_CHECK(kernels_->fill({.rule = value_rule(generated.distribution, fill.dtype),
                            .seed = generated.seed,
                            .stream = generated.stream,
                            .out = address(to),
                            .count = static_cast<fib_u64>(fill.count)}));
  return synchronize();
}

Result<void> CudaDevice::synchronize() {
  FIB_CHECK(enter());
  const auto start = std::chrono::steady_clock::now();
  const CUresult waited = wait();
  waited_ns_ +=
      std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
  if (waited != CUDA_ERROR_NOT_READY) return check(waited, "synchronize");
  context_->abandon();
  return fail(
      ErrorCode::kWorkerLost,
      fmt::format("the card did not finish a step in {:g} s: a kernel hangs", step_timeout_s_),
      info_.name, "restart; if it was only slow, with a longer step timeout");
}

// Neither cuStreamSynchronize nor an event with blocking sync can be told when to give up.
CUresult CudaDevice::wait() const {
  using std::chrono::steady_clock;
  const auto start = steady_clock::now();
  const std::chrono::duration<double> limit(step_timeout_s_);
  while (true) {
    const CUresult result = driver_.cuStreamQuery(context_->stream());
    if (result != CUDA_ERROR_NOT_READY) return result;
    const auto waited = steady_clock::now() - start;
    if (waited > limit) return result;
    if (waited < kSpin) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(
          std::min<steady_clock::duration>(waited / kPauseShare, kLongestPause));
    }
  }
}

Result<std::unique_ptr<DeviceGraph>> CudaDevice::capture(
    const std::function<Result<void>()>& record) {
  FIB_CHECK(check_not_capturing());
  FIB_CHECK(enter());
  const CUstream stream = context_->stream();
  FIB_CHECK(check(driver_.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
                  "cuStreamBeginCapture"));
  is_capturing_ = true;
  const Result<void> recorded = record();
  is_capturing_ = false;
  CUgraph graph = nullptr;
  const CUresult ended = driver_.cuStreamEndCapture(stream, &graph);
  CUgraphExec executable = nullptr;
  CUresult made = CUDA_SUCCESS;
  if (recorded && ended == CUDA_SUCCESS) {
    made = driver_.cuGraphInstantiate(&executable, graph, 0);
  }
  if (graph != nullptr) driver_.cuGraphDestroy(graph);
  // What went wrong in `record` is why the capture ended badly.
  if (!recorded) return fail(recorded.error());
  FIB_CHECK(check(ended, "cuStreamEndCapture"));
  FIB_CHECK(check(made, "cuGraphInstantiate"));
  return std::make_unique<CudaGraph>(*this, executable);
}

std::unique_ptr<DeviceTimer> CudaDevice::make_timer() { return std::make_unique<CudaTimer>(*this); }

Result<void> CudaDevice::check_not_capturing() const {
  if (!is_capturing_) return {};
  return fail(ErrorCode::kUnsupported, "not possible while a graph is captured", info_.name,
              "run the calls once before they are captured");
}

Result<std::byte*> CudaDevice::allocate_bytes(size_t bytes) {
  FIB_CHECK(check_not_capturing());
  FIB_CHECK(enter());
  CUdeviceptr data = 0;
  FIB_CHECK(check(driver_.cuMemAlloc(&data, bytes),
                  fmt::format("no {:.1f} GiB of device memory, {:.1f} of {:.1f} GiB free",
                              bytes / 0x1p30, free_bytes() / 0x1p30, info_.memory_bytes / 0x1p30)));
  return reinterpret_cast<std::byte*>(data);
}

void CudaDevice::free_bytes_at(std::byte* data) {
  if (enter()) driver_.cuMemFree(address(data));
}

Result<std::byte*> CudaDevice::allocate_host_bytes(size_t bytes) {
  FIB_CHECK(check_not_capturing());
  FIB_CHECK(enter());
  void* data = nullptr;
  FIB_CHECK(check(driver_.cuMemHostAlloc(&data, bytes, CU_MEMHOSTALLOC_PORTABLE),
                  fmt::format("no {:.1f} GiB of page-locked memory", bytes / 0x1p30)));
  return static_cast<std::byte*>(data);
}

void CudaDevice::free_host_bytes_at(std::byte* data) {
  if (enter()) driver_.cuMemFreeHost(data);
}

Result<std::unique_ptr<ServingDevice>> open_cuda_device(int index, double step_timeout_s) {
  if (!(step_timeout_s > 0.0)) {
    return fail(ErrorCode::kInvalidInput, fmt::format("a step timeout of {} s", step_timeout_s),
                "cuda", "give a time above 0");
  }
  CudaDriverPtr driver = FIB_TRY(CudaDriver::open());
  int count = 0;
  FIB_CHECK(driver->check(driver->cuDeviceGetCount(&count), "cuDeviceGetCount"));
  if (index < 0 || index >= count) {
    return fail(ErrorCode::kEnvironment, fmt::format("no device {}, there are {}", index, count),
                "cuda", "nvidia-smi lists them");
  }
  return std::make_unique<CudaDevice>(FIB_TRY(DeviceContext::open(std::move(driver), index)),
                                      step_timeout_s);
}

}  // namespace fib
