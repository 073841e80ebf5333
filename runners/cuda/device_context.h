#pragma once

// The device worker's hold on its card: context, stream, memory. Lives in the worker process only.

#include <chrono>
#include <span>
#include <string>

#include "harness/runner.h"
#include "runners/launch/cuda_driver.h"
#include "runners/launch/device_facts.h"

namespace fib {

class DeviceContext {
 public:
  static Result<std::unique_ptr<DeviceContext>> open(CudaDriverPtr driver, int index);
  ~DeviceContext();
  DeviceContext(const DeviceContext&) = delete;
  DeviceContext& operator=(const DeviceContext&) = delete;

  // Makes it the calling thread's context, as open() does for its own.
  Result<void> enter() const;

  const CudaDriver& driver() const { return *driver_; }
  CudaDriverPtr driver_ptr() const { return driver_; }
  const DeviceFacts& facts() const { return facts_; }
  CUstream stream() const { return stream_; }
  int index() const { return index_; }  // as the driver counts cards

  // Until the stream is empty. kTimeout if it isn't in time; kWorkerLost with the driver's words
  // if a kernel has broken the context.
  Result<void> wait(double timeout_s) const;
  size_t free_bytes() const;

  // A kernel hangs. Whatever asks the driver for something from now on, destructors included, is
  // refused at once: it might wait without end. What the card holds goes with the process.
  void abandon() { driver_->refuse_all(); }

 private:
  DeviceContext() = default;
  std::shared_ptr<CudaDriver> driver_;  // its own, which it may abandon
  int index_ = 0;
  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
  CUstream stream_ = nullptr;
  DeviceFacts facts_;
};

// Device memory, grown on demand. Growing loses the content.
class DeviceMemory {
 public:
  explicit DeviceMemory(const CudaDriver& driver) : driver_(&driver) {}
  DeviceMemory(DeviceMemory&& other) noexcept;
  DeviceMemory& operator=(DeviceMemory&& other) noexcept;
  ~DeviceMemory() { release(); }

  Result<void> reserve(size_t bytes);  // kResourceExhausted says how much there was
  void release();
  CUdeviceptr address() const { return address_; }
  size_t size() const { return size_; }

 private:
  const CudaDriver* driver_;
  CUdeviceptr address_ = 0;
  size_t size_ = 0;
};

// Page-locked host memory that copies go to without waiting.
class PinnedMemory {
 public:
  static Result<PinnedMemory> allocate(const CudaDriver& driver, size_t bytes);
  PinnedMemory(PinnedMemory&& other) noexcept;
  PinnedMemory& operator=(PinnedMemory&& other) noexcept;
  ~PinnedMemory();
  template <class T>
  T* as() const { return static_cast<T*>(data_); }
  CUdeviceptr device_address() const { return device_address_; }

 private:
  explicit PinnedMemory(const CudaDriver& driver) : driver_(&driver) {}
  const CudaDriver* driver_;
  void* data_ = nullptr;
  CUdeviceptr device_address_ = 0;
};

}  // namespace fib
