#pragma once

// The process in which a cpu candidate runs. It answers, in this order:
//   {"do": "open", "threads", "library", "memory_bytes"}   starts the pool, closes the sandbox
//                                             -> {"missing": what the sandbox lacks}
//   {"do": "load"}                            loads the candidate -> {"prepares": bool}
//   {"do": "problem", "inputs", "outputs"}    -> {"workspace_bytes", "prepared_bytes"}
//   {"do": "arena", "bytes"} + descriptor     maps the shared memory
//   {"do": "prepare", "call"}                 -> {"returned": code}
//   {"do": "batch", "ticket", "calls"}        waits for the doorbell (runners/cpu/arena.h)
//                                             -> {"returned", "failed_call", "busy_ns"}
// "call" is {"inputs": [offset], "outputs": [offset], "workspace": offset, "prepared": offset};
// offsets are from the arena's begin, -1 for a null pointer. It never sees expected values.

#include <span>

#include "runners/worker/process.h"

namespace fib {

int run_cpu_worker(Channel channel, std::span<char*> arguments);

}  // namespace fib
