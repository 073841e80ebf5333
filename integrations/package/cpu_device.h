#pragma once

// The host as a serving device: everything is done when a function returns.

#include "integrations/package/device.h"
#include "runners/cpu/worker_pool.h"

namespace fib {

class CpuDevice final : public ServingDevice {
 public:
  explicit CpuDevice(int threads);  // of the pool, the caller's included; at least 1

  WorkerPool& pool() { return pool_; }

  const ServingDeviceInfo& info() const override { return info_; }
  size_t free_bytes() const override;
  Result<void> upload(std::byte* to, const std::byte* from, size_t bytes) override;
  Result<void> download(std::byte* to, const std::byte* from, size_t bytes) override;
  Result<void> copy(std::byte* to, const std::byte* from, size_t bytes) override;
  Result<void> fill(std::byte* to, int value, size_t bytes) override;
  Result<void> fill_random(std::byte* to, size_t bytes, float scale, uint64_t seed) override;
  Result<void> synchronize() override { return {}; }
  Result<std::unique_ptr<DeviceGraph>> capture(
      const std::function<Result<void>()>& record) override;
  bool can_capture() const override { return false; }
  std::unique_ptr<DeviceTimer> make_timer() override;

 private:
  Result<std::byte*> allocate_bytes(size_t bytes) override;
  void free_bytes_at(std::byte* data) override;
  Result<std::byte*> allocate_host_bytes(size_t bytes) override;
  void free_host_bytes_at(std::byte* data) override;

  ServingDeviceInfo info_;
  WorkerPool pool_;
};

}  // namespace fib
