#pragma once

// The name by which boards know this machine's processor, and what the processor says it can do.
// Includes nothing of the harness, because exported packages are built on it.

#include <string>
#include <string_view>

namespace fib {

struct HostProcessor {
  std::string model;  // "AMD EPYC 7B13"
  std::string flags;  // as /proc/cpuinfo lists them, separated by spaces
};
HostProcessor host_processor();

bool has_processor_flag(std::string_view flags, std::string_view flag);

// Processors that this process may run on.
int host_threads();
// Threads of a candidate's pool: one processor is left to the parent, whose clock must not wait.
int pool_threads();

// What verdicts of the cpu target are filed under: "AMD_EPYC_7B13_7t" with a pool of 7 threads.
std::string hardware_key(const HostProcessor& processor);

}  // namespace fib
