#pragma once

// The cpu target: solutions in C++ against harness/abi/fib/cpu.h, compiled by the machine's
// compiler for this processor, run in sandboxed worker processes.

#include <memory>

#include "harness/runner.h"

namespace fib {

std::unique_ptr<Runner> make_cpu_runner(RunnerOptions options);

}  // namespace fib
