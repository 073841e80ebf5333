#pragma once

// A solution as people write it: a folder with `solution.json` (the manifest) and real files.
//
//   {
//     "name": "rmsnorm-vec8", "signature": "rmsnorm_h4096" | "rmsnorm" (a family: any instance),
//     "author": "fib", "target": "cuda" | "cpu", "description": "...",
//     "entry": "kernel.cu"            // cuda: the translation unit compiled by NVRTC
//              | "solution.cpp",      // cpu: the translation unit with the entry points
//     "plan": "plan.cpp",             // cuda only
//     "kernels": ["rmsnorm<4096>"],   // cuda: name expressions; "{axis}" stands for a const axis
//     "flags": ["-DUNROLL=4"],        // optional, from an allow-list (docs/solutions.md)
//     "sources": ["kernel.cu", "plan.cpp"],  // every file that belongs to it
//     "license": "Apache-2.0",
//     "tunables": {...}, "constraints": [...], "variations": {...}  // signatures/design_space.h
//   }
//
// Read strictly. In the Solution value the manifest's own fields live under `fib`.

#include <filesystem>
#include <string>
#include <vector>

#include "signatures/design_space.h"
#include "signatures/trace.h"

namespace fib {

// What of `Solution::fib` the runners need, checked.
struct SolutionManifest {
  std::string target;               // "cuda" or "cpu"
  std::string entry;                // path of the main source
  std::string plan;                 // cuda: path of plan.cpp
  std::vector<std::string> kernels; // cuda: name expressions, "{axis}" not yet replaced
  std::vector<std::string> flags;
  std::string license;
  DesignSpace space;  // empty where nothing is declared as open
};

Result<Solution> read_solution_folder(const std::filesystem::path& folder);
// Reads a folder, a folder's solution.json, or a Solution JSON file: whatever PATH is.
Result<Solution> read_solution(const std::filesystem::path& path);
// Refuses to overwrite a folder that is not empty.
Result<void> write_solution_folder(const Solution& solution, const std::filesystem::path& folder);

// Error (kUnsupported, with the reason) for a foreign solution: its class can't run here yet.
Result<SolutionManifest> manifest_of(const Solution& solution);

// True if the solution was written for this signature: the same name, or the family of it.
bool solution_fits(const Solution& solution, const Signature& signature);

}  // namespace fib
