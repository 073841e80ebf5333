#include "integrations/cli/interrupt.h"

namespace fib {

namespace {

// A signal handler can reach nothing but static storage.
volatile std::sig_atomic_t interrupt_requested = 0;

void note_interrupt(int) { interrupt_requested = 1; }

}  // namespace

InterruptGuard::InterruptGuard() {
  ::sigaction(SIGINT, nullptr, &previous_interrupt_);
  ::sigaction(SIGTERM, nullptr, &previous_terminate_);
  arm();
}

void InterruptGuard::arm() {
  interrupt_requested = 0;
  struct sigaction action = {};
  action.sa_handler = note_interrupt;
  action.sa_flags = SA_RESETHAND | SA_RESTART;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

bool InterruptGuard::take() {
  if (!requested()) return false;
  arm();
  return true;
}

InterruptGuard::~InterruptGuard() {
  ::sigaction(SIGINT, &previous_interrupt_, nullptr);
  ::sigaction(SIGTERM, &previous_terminate_, nullptr);
}

bool InterruptGuard::requested() const { return interrupt_requested != 0; }

}  // namespace fib
