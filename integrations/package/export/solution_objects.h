#pragma once

// Solutions compiled to objects that can be linked into one shared object: cpu solutions once a
// level, and plans of cuda solutions. An object shows nothing but its entry points, renamed to what
// no other object has. Everything else in it is its own, inline functions and variables too: those
// of another level, of another signature's constants, must never run in their place.

#include <filesystem>
#include <optional>
#include <string>

#include "runners/worker/build_cache.h"
#include "runners/worker/toolchain.h"
#include "signatures/signature.h"
#include "signatures/trace.h"

namespace fib {

// What was made of a solution; a compiler's refusal is no Error.
template <class T>
struct Compiled {
  std::optional<T> made;
  std::string failure_log;
};

// The optional entry points are "" where the solution has none.
struct CpuObject {
  std::string level;
  std::filesystem::path file;
  std::string run, workspace_bytes, prepared_bytes, prepare;  // symbols
  std::string flags;  // what the processor of a "native" object can do: HostProcessor::flags
};

struct PlanObject {
  std::filesystem::path file;
  std::string symbol;  // a FibPlanEntry
};

class SolutionObjects {
 public:
  // `abi`: the headers of solutions. Objects are kept in the cache, keyed by all that can change
  // them. kEnvironment where a compiler or objcopy is missing.
  static Result<SolutionObjects> open(const std::filesystem::path& abi,
                                      const std::filesystem::path& cache_folder);

  // Both thread-safe.
  Result<Compiled<CpuObject>> cpu(const Solution& solution, const Signature& signature,
                                  const std::string& level) const;
  Result<Compiled<PlanObject>> plan(const Solution& solution, const Signature& signature) const;

  const Toolchain& toolchain() const { return toolchain_; }

 private:
  struct Request;
  struct Isolated;
  SolutionObjects(Toolchain toolchain, std::filesystem::path objcopy, BuildCache cache)
      : toolchain_(std::move(toolchain)), objcopy_(std::move(objcopy)), cache_(std::move(cache)) {}
  std::string key_of(const Request& request) const;
  Result<Compiled<Isolated>> isolate(const Request& request) const;
  Result<std::string> fill(const Request& request, const std::string& prefix,
                           const std::filesystem::path& folder) const;

  Toolchain toolchain_;
  std::filesystem::path objcopy_;
  BuildCache cache_;
  std::string headers_hash_;
};

}  // namespace fib
