#pragma once

// Waiting for a 32-bit word that another thread or process writes: spin first, because kernels may
// take microseconds and a wake-up takes tens of them; then sleep.

#include <atomic>
#include <cstdint>

namespace fib {

// Whom the word is shared with.
enum class FutexScope { kThreads, kProcesses };

// Sleeps while `word` holds `value`, at most `timeout_ns` (negative: for ever). Wakes spuriously.
void futex_wait(std::atomic<uint32_t>& word, uint32_t value, int64_t timeout_ns, FutexScope scope);
void futex_wake_all(std::atomic<uint32_t>& word, FutexScope scope);

// CLOCK_MONOTONIC, the same in every process of the machine.
int64_t monotonic_ns();

inline void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// True as soon as `word` holds `value`; false after about `spin_ns`. Gives the processor away now
// and then, so that it also ends where there are fewer processors than threads.
bool spin_for(const std::atomic<uint32_t>& word, uint32_t value, int64_t spin_ns);

}  // namespace fib
