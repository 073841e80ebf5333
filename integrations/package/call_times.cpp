#include "integrations/package/call_times.h"

#include <algorithm>

namespace fib {

CallTimes::CallTimes(Dispatch& dispatch) : dispatch_(dispatch) { dispatch_.add_tap(*this); }

CallTimes::~CallTimes() { dispatch_.remove_tap(*this); }

void CallTimes::on_call(const Kernel& kernel, const KernelCall&, double host_ns) {
  const std::lock_guard lock(mutex_);
  Sum& sum = sums_[&kernel];
  ++sum.calls;
  sum.host_ns += host_ns;
}

std::vector<CallTime> CallTimes::read() const {
  std::vector<CallTime> times;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [kernel, sum] : sums_) {
      times.push_back({.signature = kernel->signature().name,
                       .solution = std::string(kernel->solution()),
                       .calls = sum.calls,
                       .host_s = sum.host_ns / 1e9});
    }
  }
  std::sort(times.begin(), times.end(),
            [](const CallTime& a, const CallTime& b) { return a.host_s > b.host_s; });
  return times;
}

}  // namespace fib
