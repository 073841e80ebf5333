#pragma once

// What a command is given: where to write, where things lie, and what was asked of all commands.

#include <filesystem>
#include <iosfwd>
#include <string>
#include <vector>

#include "integrations/cli/terminal.h"
#include "runners/cuda/libraries.h"
#include "signatures/catalog.h"

namespace fib {

// The data that travels with the binary. A checkout and an install's share/fib look alike.
struct Home {
  std::filesystem::path root;
  std::filesystem::path definitions() const { return root / "signatures/definitions"; }
  std::filesystem::path workloads() const { return root / "workloads/captured"; }
  std::filesystem::path solutions() const { return root / "leaderboard/solutions"; }
  std::filesystem::path abi() const { return root / "harness/abi"; }
  std::filesystem::path prompts() const { return root / "agents/prompts"; }  // a folder a version
  std::filesystem::path device_sources() const { return root / "runners/cuda/device"; }
};

// The parts of the cache folder.
inline constexpr const char* kBuildsFolder = "builds";
inline constexpr const char* kExpectedFolder = "expected";
inline constexpr size_t kExpectedDiskBytes = size_t{8} << 30;
inline constexpr size_t kExpectedMemoryBytes = size_t{2} << 30;

// Looks beside the binary: build/<preset>/fib in a checkout, bin/fib in an install. `chosen`
// (--home) is taken instead where it is given. Error (kEnvironment) says where was looked.
Result<Home> find_home(const std::filesystem::path& executable,
                       const std::filesystem::path& chosen);

enum class OutputFormat { kText, kJson };

struct Context {
  std::ostream& out;  // results
  std::ostream& err;  // progress, notes and errors
  OutputFormat format = OutputFormat::kText;
  Style out_style, err_style;
  Interactivity interactivity = Interactivity::kPipe;  // of err: progress lines or none
  Home home;
  std::filesystem::path executable;  // this binary, for worker processes
  std::filesystem::path store_file;
  std::filesystem::path cache_folder;
  std::vector<std::filesystem::path> datasets;  // further definitions
  CudaSearch cuda_search;
  // Of a profiler that this process runs under; device workers get them too.
  std::vector<std::pair<std::string, std::string>> profiler_variables;

  bool json() const { return format == OutputFormat::kJson; }
};

// The built-in signatures and those of the datasets. Where `workloads` is a dataset too, that is
// has definitions of its own, these come along.
Result<Catalog> open_catalog(const Context& context, const std::filesystem::path& workloads = {});

// Where a command's error lands: every code is one of the documented exit codes.
inline constexpr int kExitPassed = 0;
inline constexpr int kExitNotPassed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitEnvironment = 3;
inline constexpr int kExitInternal = 70;
inline constexpr int kExitInterrupted = 130;
int exit_code_of(ErrorCode code);

// "fib: where: message" with the remedy below; in JSON mode also {"error": {...}} on `out`.
int report_error(const Context& context, const Error& error);

// One JSON document and a newline on `out`.
void print_json(const Context& context, const Json& document);       // indented
void print_json_line(const Context& context, const Json& document);  // one line of a stream

}  // namespace fib
