#pragma once

// Counts where a thread may have to wait for another one: this program's locks count, and all of
// the library's are these.

#include <cstdint>

namespace fib::package {

bool can_count_waits();
// Mutexes and read-write locks that were taken, waits for conditions, semaphores and sleep, and
// calls of the kernel by number, as futexes are.
int64_t waits_of_this_thread();

}  // namespace fib::package
