#include "agents/search/quiet_host.h"

namespace fib::agents {

QuietHost::Hold::Hold(QuietHost& host, int QuietHost::*count) : host_(host), count_(count) {}

QuietHost::Hold::~Hold() {
  {
    const std::lock_guard lock(host_.mutex_);
    --(host_.*count_);
  }
  host_.changed_.notify_all();
}

QuietHost::Hold QuietHost::build() {
  std::unique_lock lock(mutex_);
  if (use_ == HostUse::kTimed) {
    changed_.wait(lock, [&] { return measuring_ == 0 && waiting_ == 0; });
  }
  ++building_;
  return Hold(*this, &QuietHost::building_);
}

QuietHost::Hold QuietHost::measure() {
  std::unique_lock lock(mutex_);
  if (use_ == HostUse::kTimed) {
    ++waiting_;
    changed_.wait(lock, [&] { return measuring_ == 0 && building_ == 0; });
    --waiting_;
  }
  ++measuring_;
  return Hold(*this, &QuietHost::measuring_);
}

}  // namespace fib::agents
