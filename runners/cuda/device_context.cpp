#include "runners/cuda/device_context.h"

#include <fmt/format.h>

#include <thread>

namespace fib {

Result<std::unique_ptr<DeviceContext>> DeviceContext::open(CudaDriverPtr driver, int index) {
  std::unique_ptr<DeviceContext> context(new DeviceContext);
  const CudaDriver& cuda = *driver;
  context->index_ = index;
  context->facts_ = FIB_TRY(read_device_facts(cuda, index));
  FIB_CHECK(cuda.check(cuda.cuDeviceGet(&context->device_, index), "cuDeviceGet"));
  FIB_CHECK(cuda.check(cuda.cuDevicePrimaryCtxRetain(&context->context_, context->device_),
                       fmt::format("no context on {}", context->facts_.name)));
  context->driver_ = std::make_shared<CudaDriver>(cuda);
  FIB_CHECK(context->enter());
  FIB_CHECK(cuda.check(cuda.cuStreamCreate(&context->stream_, CU_STREAM_NON_BLOCKING),
                       "cuStreamCreate"));
  return context;
}

DeviceContext::~DeviceContext() {
  if (!context_) return;
  if (stream_) driver_->cuStreamDestroy(stream_);
  driver_->cuDevicePrimaryCtxRelease(device_);
}

Result<void> DeviceContext::enter() const {
  return driver_->check(driver_->cuCtxSetCurrent(context_), "cuCtxSetCurrent");
}

Result<void> DeviceContext::wait(double timeout_s) const {
  using std::chrono::steady_clock;
  const auto start = steady_clock::now();
  const auto limit = std::chrono::duration<double>(timeout_s);
  constexpr auto kSpin = std::chrono::milliseconds(2);
  while (true) {
    const CUresult result = driver_->cuStreamQuery(stream_);
    if (result == CUDA_SUCCESS) return {};
    if (result != CUDA_ERROR_NOT_READY) {
      return fail(ErrorCode::kWorkerLost, driver_->describe(result));
    }
    const auto waited = steady_clock::now() - start;
    if (waited > limit) {
      return fail(ErrorCode::kTimeout, fmt::format("still running after {:.3g} s", timeout_s));
    }
    if (waited > kSpin) std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

size_t DeviceContext::free_bytes() const {
  size_t free = 0, total = 0;
  driver_->cuMemGetInfo(&free, &total);
  return free;
}

DeviceMemory::DeviceMemory(DeviceMemory&& other) noexcept
    : driver_(other.driver_),
      address_(std::exchange(other.address_, 0)),
      size_(std::exchange(other.size_, 0)) {}

DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
  std::swap(driver_, other.driver_);
  std::swap(address_, other.address_);
  std::swap(size_, other.size_);
  return *this;
}

Result<void> DeviceMemory::reserve(size_t bytes) {
  if (bytes <= size_) return {};
  release();
  const CUresult result = driver_->cuMemAlloc(&address_, bytes);
  if (result == CUDA_SUCCESS) {
    size_ = bytes;
    return {};
  }
  address_ = 0;
  size_t free = 0, total = 0;
  driver_->cuMemGetInfo(&free, &total);
  return driver_->check(result, fmt::format("no {:.1f} GiB of device memory, {:.1f} of {:.1f} GiB free",
                                            bytes / 0x1p30, free / 0x1p30, total / 0x1p30));
}

void DeviceMemory::release() {
  if (address_) driver_->cuMemFree(address_);
  address_ = 0;
  size_ = 0;
}

Result<PinnedMemory> PinnedMemory::allocate(const CudaDriver& driver, size_t bytes) {
  PinnedMemory memory(driver);
  FIB_CHECK(driver.check(driver.cuMemHostAlloc(&memory.data_, bytes, CU_MEMHOSTALLOC_DEVICEMAP),
                         "no page-locked memory"));
  FIB_CHECK(driver.check(
      driver.cuMemHostGetDevicePointer(&memory.device_address_, memory.data_, 0),
      "page-locked memory is not mapped"));
  return memory;
}

PinnedMemory::PinnedMemory(PinnedMemory&& other) noexcept
    : driver_(other.driver_),
      data_(std::exchange(other.data_, nullptr)),
      device_address_(other.device_address_) {}

PinnedMemory& PinnedMemory::operator=(PinnedMemory&& other) noexcept {
  std::swap(driver_, other.driver_);
  std::swap(data_, other.data_);
  std::swap(device_address_, other.device_address_);
  return *this;
}

PinnedMemory::~PinnedMemory() {
  if (data_) driver_->cuMemFreeHost(data_);
}

}  // namespace fib
