#pragma once

// A workload's inputs and exact outputs in a file, for whoever debugs a kernel elsewhere.

#include <cstdint>
#include <filesystem>

#include "signatures/problem.h"

namespace fib {

inline constexpr size_t kLargestValuesFile = size_t{4} << 30;

struct WrittenValues {
  size_t tensors = 0;
  size_t size_bytes = 0;  // of the tensors
};

// Writes a safetensors file: `input.<name>` as a kernel is given it, `expected.<name>` in float32
// from the exact reference; in the metadata the signature, the workload, the seed, `axis.<name>`,
// and host scalars as `input.<name>`. The same seed gives the same file on every machine. Error:
// more than kLargestValuesFile, before anything is calculated.
Result<WrittenValues> write_workload_values(const Problem& problem, uint64_t seed,
                                            const std::filesystem::path& file);

}  // namespace fib
