#pragma once

// Integers that a step computes for calls of its own, such as the experts that each layer's router
// chooses. Each call has a place to itself, the same one in every step of these sizes (graphs refer
// to it), so that all of them are still there when the step is done: who wants to see them gets
// them with one copy.

#include "integrations/package/kernel.h"

namespace fib {

class ComputedIntegers {
 public:
  // For so many calls a step, each of at most `max_integers`.
  static Result<ComputedIntegers> create(ServingDevice& device, size_t calls, size_t max_integers);

  void begin_step() { used_bytes_ = 0; }
  // The place of the next call's: int32 [rows, columns]. On a card with a host copy at the step's
  // end.
  Operand take(int64_t rows, int64_t columns);
  size_t used_bytes() const { return used_bytes_; }  // of the places taken since begin_step()

  // Enqueues the copy of so many bytes of places to the host. On the cpu there is none to be made.
  Result<void> download(ServingDevice& device, size_t bytes) const;

 private:
  DeviceArray values_;
  HostArray host_values_;  // empty on the cpu, where `values_` can be read
  size_t used_bytes_ = 0;
};

}  // namespace fib
