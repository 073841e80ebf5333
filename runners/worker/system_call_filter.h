#pragma once

// The seccomp part of runners/worker/sandbox.h.

#include <string>

#include "signatures/base/result.h"

namespace fib {

enum class NewThreads { kRefused, kAllowed };

// Holds for every thread of the process, and for good.
Result<void> filter_system_calls(NewThreads new_threads);

bool can_filter_system_calls();
std::string describe_system_call_filter();  // "libseccomp 2.5.4", or why it can't

}  // namespace fib
