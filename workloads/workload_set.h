#pragma once

// Where workloads come from: the project's own captured files, a dataset folder, one .jsonl file.

#include <filesystem>
#include <string>
#include <vector>

#include "signatures/catalog.h"
#include "signatures/trace.h"

namespace fib {

struct WorkloadSet {
  std::string signature;
  std::vector<Workload> workloads;
};

// `path`: a .jsonl(.gz) file, or a dataset root (finds workloads/**/<name>.jsonl, any nesting,
// and rows of `solution: null` in traces). Only rows of `signature` (empty: all).
// Each workload once, by its id. The dataset root (for blob paths) of a file is the nearest
// ancestor folder that contains `blob/`, else `definitions/`, else `workloads/`.
Result<std::vector<WorkloadSet>> read_workloads(const std::filesystem::path& path,
                                                std::string_view signature = {});

// The built-in workloads of a signature in `folder` (workloads/captured):
// <op_type>/<signature>.jsonl, else the family's <family>.jsonl whose rows leave const axes alone.
// Read strictly.
Result<std::vector<Workload>> builtin_workloads(const std::filesystem::path& folder,
                                                const Signature& signature);

}  // namespace fib
