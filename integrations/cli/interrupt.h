#pragma once

// Ctrl-C during a measurement: the current one is finished and stored, then the command stops. A
// second Ctrl-C ends the process at once, which loses nothing that was reported either.

#include <csignal>

namespace fib {

class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  bool requested() const;
  // True once for each request: the next one is noticed again instead of ending the process.
  bool take();

 private:
  void arm();
  struct sigaction previous_interrupt_, previous_terminate_;
};

}  // namespace fib
