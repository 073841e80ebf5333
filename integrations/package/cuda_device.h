#pragma once

// An NVIDIA card as a serving device: one stream on its primary context.

#include <optional>
#include <thread>

#include "integrations/package/device.h"
#include "runners/cuda/device_context.h"
#include "runners/cuda/device_kernels.h"

namespace fib {

class CudaDevice final : public ServingDevice {
 public:
  explicit CudaDevice(std::unique_ptr<DeviceContext> context,
                      double step_timeout_s = kDefaultStepTimeoutS);
  ~CudaDevice() override;

  const DeviceContext& context() const { return *context_; }
  // The kernels of fill_random, which a device can't compile for itself.
  void adopt(HarnessKernels kernels) { kernels_ = std::move(kernels); }
  bool can_fill_random() const { return kernels_.has_value(); }
  // Makes the context the calling thread's. Everything below does so itself.
  Result<void> enter() const;
  // kWorkerLost if the device is lost, whatever the error was called.
  Error explain(Error error) const;

  const ServingDeviceInfo& info() const override { return info_; }
  size_t free_bytes() const override;
  Result<void> upload(std::byte* to, const std::byte* from, size_t bytes) override;
  Result<void> download(std::byte* to, const std::byte* from, size_t bytes) override;
  Result<void> copy(std::byte* to, const std::byte* from, size_t bytes) override;
  Result<void> fill(std::byte* to, int value, size_t bytes) override;
  Result<void> fill_random(std::byte* to, size_t bytes, float scale, uint64_t seed) override;
  Result<void> synchronize() override;
  std::optional<double> waited_ns() const override { return waited_ns_; }
  Result<std::unique_ptr<DeviceGraph>> capture(
      const std::function<Result<void>()>& record) override;
  bool can_capture() const override { return true; }
  bool is_capturing() const { return is_capturing_; }
  std::unique_ptr<DeviceTimer> make_timer() override;

  // kWorkerLost for errors after which the context can't be used any more.
  Result<void> check(CUresult result, std::string_view what) const;

 private:
  Result<std::byte*> allocate_bytes(size_t bytes) override;
  void free_bytes_at(std::byte* data) override;
  Result<std::byte*> allocate_host_bytes(size_t bytes) override;
  void free_host_bytes_at(std::byte* data) override;
  Result<void> check_not_capturing() const;
  CUresult wait() const;  // CUDA_ERROR_NOT_READY: not within the deadline

  const std::unique_ptr<DeviceContext> context_;
  const CudaDriver& driver_;
  const double step_timeout_s_;
  ServingDeviceInfo info_;
  std::optional<HarnessKernels> kernels_;
  mutable std::thread::id thread_;  // that the context is current in
  bool is_capturing_ = false;
  double waited_ns_ = 0.0;
};

struct HouseDispatchOptions;
// Compiles the kernels of fill_random, or takes them from the build cache.
Result<void> adopt_harness_kernels(CudaDevice& device, const HouseDispatchOptions& options);

}  // namespace fib
