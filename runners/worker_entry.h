#pragma once

// Entry of every worker process: `fib internal-worker KIND --fd N [ARGUMENTS]`. The list of kinds
// is in worker_entry.cpp: cpu, plan, cuda, nvrtc.

namespace fib {

// argv[0] is the KIND. Returns the process's exit code.
int worker_entry(int argc, char** argv);

}  // namespace fib
