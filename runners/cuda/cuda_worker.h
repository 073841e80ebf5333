#pragma once

// The device worker: one process a device, persistent, with the context, the arena and the clock.
// No candidate host code ever runs in it.

#include <span>

#include "runners/worker/process.h"

namespace fib {

// Worker kind "cuda": answers a session's commands (device_protocol.h), or a single "probe".
int run_cuda_worker(Channel channel, std::span<char*> arguments);

}  // namespace fib
