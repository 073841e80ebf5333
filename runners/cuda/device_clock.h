#pragma once

// What time a call took on the device. CUPTI's activity records over all streams are the first
// choice, CUDA events the visible second.

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "harness/sample.h"
#include "runners/cuda/device_context.h"

namespace fib {

struct KernelRecord {
  std::string name;  // demangled
  double duration_ns = 0.0;
  uint32_t registers = 0, shared_bytes = 0;
  uint32_t grid[3] = {0, 0, 0}, block[3] = {0, 0, 0};
};

struct CallRecord {
  double time_ns = 0.0;                // last end minus first start, over everything in the call
  std::vector<KernelRecord> kernels;   // in order of start; none from events
};

class DeviceClock {
 public:
  virtual ~DeviceClock() = default;
  virtual Clock kind() const = 0;
  // Around what is put on the stream for one call.
  virtual Result<void> begin_call(CUstream stream) = 0;
  virtual Result<void> end_call(CUstream stream) = 0;
  // The calls since the last collect(), in order. The stream is idle. A call of which nothing was
  // recorded has time 0.
  virtual Result<std::vector<CallRecord>> collect() = 0;
};

// Before a context exists: CUPTI sees only what comes after it. `library`: libcupti.
Result<std::unique_ptr<DeviceClock>> open_cupti_clock(const std::filesystem::path& library);
std::unique_ptr<DeviceClock> make_event_clock(const CudaDriver& driver);

}  // namespace fib
