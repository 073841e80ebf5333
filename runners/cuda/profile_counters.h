#pragma once

// Hardware counters of kernels, by NVIDIA's Nsight Compute (`ncu`) where it is installed: what it
// is asked, and how its report is read. Starting it is the caller's.

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runners/cuda/libraries.h"
#include "signatures/base/result.h"

namespace fib {

// Of one launch. Only what could be read.
struct CounterReading {
  std::string kernel;
  std::optional<double> device_bytes;           // read and written
  std::optional<double> occupancy;              // warps resident over those that fit, 0..1
  std::optional<double> theoretical_occupancy;  // what the launch allows
  std::optional<double> bank_conflicts;         // of shared memory
  // Reason -> share of the time that warps spend on their way to the next instruction, largest
  // first: "long scoreboard" is device memory, "barrier" the other warps of the block, ...
  std::vector<std::pair<std::string, double>> stalls;
};

struct CounterReport {
  std::vector<CounterReading> kernels;  // the first launch of each
  std::vector<std::string> missing;     // "rmsnorm: no bank conflicts: n/a"
};

// Beside a toolkit's other programs, on `search_path` (as PATH), or where NVIDIA's packages put it.
// kEnvironment with the remedy where there is none.
Result<std::filesystem::path> find_ncu(const CudaSearch& search, std::string_view search_path);

struct NcuRequest {
  std::vector<std::string> kernels;  // by name, without namespace, template arguments, parameters
  std::filesystem::path report;      // what read_ncu_report reads afterwards
  std::vector<std::string> command;  // the program that launches them, with its arguments
};
std::vector<std::string> ncu_arguments(const NcuRequest& request);

// "void space::rmsnorm<4096>(float const*)" -> "rmsnorm".
std::string bare_kernel_name(std::string_view name);

// Read strictly: a table that isn't what it is documented to be is an error (kInvalidInput), as is
// a run that profiled nothing, with ncu's reason (kEnvironment where counters may not be read).
Result<CounterReport> read_ncu_report(std::string_view text);

}  // namespace fib
