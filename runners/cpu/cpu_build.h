#pragma once

// Compiles a cpu solution for a signature, through the build cache.

#include <string>
#include <string_view>
#include <vector>

#include "harness/runner.h"
#include "runners/worker/build_cache.h"
#include "runners/worker/toolchain.h"

namespace fib {

inline constexpr const char* kCpuLibraryName = "solution.so";

// What every compile gets before the manifest's own flags: `march` as "-march" spells it.
std::vector<std::string> cpu_object_flags(std::string_view march);
// For a shared object that runs on this machine.
std::vector<std::string> cpu_compile_flags();

Result<BuildOutcome> build_cpu_solution(const BuildRequest& request, const Toolchain& toolchain,
                                        const BuildCache& cache);

}  // namespace fib
