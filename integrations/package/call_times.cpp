#include "integrations/package/call_times.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

namespace fib {
namespace {
constexpr double kNsPerSecond = 1e9;
}  // namespace

CallTimes::CallTimes(Dispatch& dispatch) : dispatch_(dispatch) { dispatch_.add_tap(*this); }

CallTimes::~CallTimes() { dispatch_.remove_tap(*this); }

void CallTimes::on_call(const Kernel& kernel, const KernelCall&, double host_ns) {
  const std::lock_guard lock(mutex_);
  Sum& sum = sums_[&kernel];
  ++sum.calls;
  sum.host_ns += host_ns;
}

void CallTimes::on_device_time(const Kernel& kernel, const KernelCall&, double device_ns) {
  const std::lock_guard lock(mutex_);
  Sum& sum = sums_[&kernel];
  ++sum.sampled_calls;
  sum.device_ns += device_ns;
}

std::vector<CallTime> CallTimes::read() const {
  // Kernels may differ in nothing but a parameter.
  std::map<std::pair<std::string, std::string>, CallTime> by_name;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [kernel, sum] : sums_) {
      CallTime& time = by_name[{kernel->signature().name, std::string(kernel->solution())}];
      time.calls += sum.calls;
      time.host_s += sum.host_ns / kNsPerSecond;
      time.sampled_calls += sum.sampled_calls;
      time.device_s += sum.device_ns / kNsPerSecond;
    }
  }
  std::vector<CallTime> times;
  for (auto& [names, time] : by_name) {
    std::tie(time.signature, time.solution) = names;
    times.push_back(std::move(time));
  }
  std::stable_sort(times.begin(), times.end(),
                   [](const CallTime& a, const CallTime& b) { return a.host_s > b.host_s; });
  return times;
}

}  // namespace fib
