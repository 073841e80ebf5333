#pragma once

// How often each signature was called, by which solution, and how long that took: the metrics tap.

#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "integrations/package/dispatch.h"

namespace fib {

struct CallTime {
  std::string signature;
  std::string solution;
  uint64_t calls = 0;
  double host_s = 0.0;  // cpu: the calls themselves; cuda: enqueuing them
  // Of the calls, those that Dispatch::time_calls timed, and their time on the device.
  uint64_t sampled_calls = 0;
  double device_s = 0.0;
};

class CallTimes : public CallTap {
 public:
  explicit CallTimes(Dispatch& dispatch);
  ~CallTimes() override;
  CallTimes(const CallTimes&) = delete;
  CallTimes& operator=(const CallTimes&) = delete;

  void on_call(const Kernel& kernel, const KernelCall& call, double host_ns) override;
  void on_device_time(const Kernel& kernel, const KernelCall& call, double device_ns) override;
  std::vector<CallTime> read() const;  // from any thread; the longest first

 private:
  struct Sum {
    uint64_t calls = 0;
    double host_ns = 0.0;
    uint64_t sampled_calls = 0;
    double device_ns = 0.0;
  };
  Dispatch& dispatch_;
  mutable std::mutex mutex_;
  std::unordered_map<const Kernel*, Sum> sums_;
};

}  // namespace fib
