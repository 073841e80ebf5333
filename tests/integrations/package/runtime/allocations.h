#pragma once

// Counts what a thread allocates: this program's malloc counts, and all else ends there.

#include <cstdint>

namespace fib::package {

bool can_count_allocations();
int64_t allocations_of_this_thread();

}  // namespace fib::package
