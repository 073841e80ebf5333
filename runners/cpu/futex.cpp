#include "runners/cpu/futex.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <climits>

namespace fib {
namespace {

int operation(int base, FutexScope scope) {
  return scope == FutexScope::kThreads ? base | FUTEX_PRIVATE_FLAG : base;
}

// Spinning without giving the processor away: about the time that a switch would cost.
constexpr int kPausesBeforeYield = 256;

}  // namespace

void futex_wait(std::atomic<uint32_t>& word, uint32_t value, int64_t timeout_ns,
                FutexScope scope) {
  const timespec timeout{timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
  ::syscall(SYS_futex, &word, operation(FUTEX_WAIT, scope), value,
            timeout_ns < 0 ? nullptr : &timeout, nullptr, 0);
}

void futex_wake_all(std::atomic<uint32_t>& word, FutexScope scope) {
  ::syscall(SYS_futex, &word, operation(FUTEX_WAKE, scope), INT_MAX, nullptr, nullptr, 0);
}

int64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

bool spin_for(const std::atomic<uint32_t>& word, uint32_t value, int64_t spin_ns) {
  const int64_t end = monotonic_ns() + spin_ns;
  do {
    for (int i = 0; i < kPausesBeforeYield; ++i) {
      if (word.load(std::memory_order_acquire) == value) return true;
      pause_briefly();
    }
    ::sched_yield();
  } while (monotonic_ns() < end);
  return word.load(std::memory_order_acquire) == value;
}

}  // namespace fib
