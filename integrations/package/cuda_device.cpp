#include "integrations/package/cuda_device.h"

#include <fmt/format.h>

#include "integrations/package/dispatch.h"
#include "integrations/package/random_fill.h"

namespace fib {
namespace {

constexpr size_t kFillAlignment = 16;

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

}  // namespace

CudaDevice::CudaDevice(std::unique_ptr<DeviceContext> context)
    : context_(std::move(context)),
      driver_(context_->driver()),
      info_{.target = "cuda",
            .name = context_->facts().name,
            .architecture = context_->facts().architecture,
            .memory_bytes = static_cast<size_t>(context_->facts().plan.memory_bytes)},
      thread_(std::this_thread::get_id()) {}

CudaDevice::~CudaDevice() {
  // What is freed with the device needs its context. A lost one frees nothing.
  static_cast<void>(enter());
}

Result<void> CudaDevice::enter() const {
  const std::thread::id caller = std::this_thread::get_id();
  if (caller == thread_) return {};
  FIB_CHECK(context_->enter());
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
  return check(driver_.cuStreamSynchronize(context_->stream()), "synchronize");
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

Result<std::unique_ptr<ServingDevice>> open_cuda_device(int index) {
  CudaDriverPtr driver = FIB_TRY(CudaDriver::open());
  int count = 0;
  FIB_CHECK(driver->check(driver->cuDeviceGetCount(&count), "cuDeviceGetCount"));
  if (index < 0 || index >= count) {
    return fail(ErrorCode::kEnvironment, fmt::format("no device {}, there are {}", index, count),
                "cuda", "nvidia-smi lists them");
  }
  return std::make_unique<CudaDevice>(FIB_TRY(DeviceContext::open(std::move(driver), index)));
}

}  // namespace fib
