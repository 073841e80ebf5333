#pragma once

// Checks and times cpu candidates on this machine. Each contender has a worker process of its own,
// kept while the same artifact comes again; the parent owns the clock and the expected values.

#include "harness/runner.h"

namespace fib {

struct CpuSessionOptions {
  std::filesystem::path worker_executable;  // the fib binary
  DeviceInfo device;
  size_t arena_budget_bytes = size_t{2} << 30;  // a contender's memory: inputs, outputs, workspace
};

std::unique_ptr<Session> make_cpu_session(CpuSessionOptions options);

}  // namespace fib
