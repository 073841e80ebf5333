#pragma once

// Where a served model's tensors live and its calls run: the CPU, or one NVIDIA card. One in-order
// queue a device; what is enqueued may still be running when a function returns, until
// synchronize(). One thread at a time.

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "signatures/base/result.h"

namespace fib {

// How long a step may take on a card before it counts as hanging. The longest of a healthy one take
// a few seconds.
inline constexpr double kDefaultStepTimeoutS = 30.0;

struct ServingDeviceInfo {
  std::string target;        // "cpu", "cuda"
  std::string name;          // "NVIDIA H100 80GB HBM3"
  std::string architecture;  // "sm_90a", "x86-64 avx512"
  std::string hardware;      // as boards name it: "NVIDIA_H100_80GB_HBM3"
  size_t memory_bytes = 0;
  int threads = 0;           // cpu: of the pool
};

class ServingDevice;

// Device memory; freed with its owner, which the device must outlive. Aligned to 256 bytes.
class DeviceArray {
 public:
  DeviceArray() = default;
  DeviceArray(DeviceArray&& other) noexcept;
  DeviceArray& operator=(DeviceArray&& other) noexcept;
  ~DeviceArray();
  std::byte* data() const { return data_; }  // a device address; only the cpu target may read it
  size_t bytes() const { return bytes_; }

 private:
  friend class ServingDevice;
  ServingDevice* device_ = nullptr;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

// Host memory that copies to and from the device run at full speed with (page-locked on cuda).
class HostArray {
 public:
  HostArray() = default;
  HostArray(HostArray&& other) noexcept;
  HostArray& operator=(HostArray&& other) noexcept;
  ~HostArray();
  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  template <class T>
  T* as() const { return reinterpret_cast<T*>(data_); }

 private:
  friend class ServingDevice;
  ServingDevice* device_ = nullptr;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

// Everything that was enqueued while it was captured, to be enqueued again at little cost.
class DeviceGraph {
 public:
  virtual ~DeviceGraph() = default;
  virtual Result<void> launch() = 0;
};

// Points in time on a device's queue, each with an index that is used again and again.
class DeviceTimer {
 public:
  virtual ~DeviceTimer() = default;
  // Enqueued: the time is taken when everything before it has run. While a graph is captured, each
  // time that the graph is launched.
  virtual Result<void> mark(size_t index) = 0;
  // Of marks that have been passed, as synchronize() sees to.
  virtual Result<double> elapsed_ns(size_t from, size_t to) const = 0;
};

class ServingDevice {
 public:
  virtual ~ServingDevice() = default;
  virtual const ServingDeviceInfo& info() const = 0;
  virtual size_t free_bytes() const = 0;  // that could still be allocated

  // kResourceExhausted says how much was asked for and how much there was.
  Result<DeviceArray> allocate(size_t bytes);
  Result<HostArray> allocate_host(size_t bytes);

  // All enqueued. `from` of an upload and `to` of a download stay valid until synchronize().
  virtual Result<void> upload(std::byte* to, const std::byte* from, size_t bytes) = 0;
  virtual Result<void> download(std::byte* to, const std::byte* from, size_t bytes) = 0;
  virtual Result<void> copy(std::byte* to, const std::byte* from, size_t bytes) = 0;
  virtual Result<void> fill(std::byte* to, int value, size_t bytes) = 0;
  // A counter-based fill with plausible weights, for --load-format dummy: uniform in
  // [-scale, scale) as bfloat16, or random bits where scale is 0. Synchronous.
  virtual Result<void> fill_random(std::byte* to, size_t bytes, float scale, uint64_t seed) = 0;

  // Waits until everything enqueued has run. A kernel that broke something is reported here
  // (kWorkerLost: the device is lost for good; anything else: this work only), and so is a card that
  // isn't done within the device's deadline: it is lost as well. On the CPU, where a call returns
  // when its work is done, there is no deadline: nothing in a process can end a kernel of its own.
  virtual Result<void> synchronize() = 0;
  // What synchronize() has waited since the device was opened: all else between two calls of it is
  // the host's time. Nothing on the cpu target, where calls are done when they return.
  virtual std::optional<double> waited_ns() const { return std::nullopt; }

  // Runs `record`, which enqueues, and returns it as a graph. Nothing is executed. kUnsupported on
  // the cpu target.
  virtual Result<std::unique_ptr<DeviceGraph>> capture(
      const std::function<Result<void>()>& record) = 0;
  virtual bool can_capture() const = 0;

  // Which the device must outlive.
  virtual std::unique_ptr<DeviceTimer> make_timer() = 0;

 protected:
  friend class DeviceArray;
  friend class HostArray;
  virtual Result<std::byte*> allocate_bytes(size_t bytes) = 0;
  virtual void free_bytes_at(std::byte* data) = 0;
  virtual Result<std::byte*> allocate_host_bytes(size_t bytes) = 0;
  virtual void free_host_bytes_at(std::byte* data) = 0;
};

}  // namespace fib
