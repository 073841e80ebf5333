#pragma once

// The other documents of the FlashInfer-Trace format: Workload, Solution, Trace (one line of a
// .jsonl). Read tolerantly, written back equal in meaning. Format: docs/formats.md.

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "signatures/base/json.h"
#include "signatures/base/result.h"
#include "signatures/signature.h"

namespace fib {

struct RandomInput {};
struct ScalarInput {
  std::variant<int64_t, double, bool> value;
};
struct SafetensorsInput {
  std::string path;        // relative to the dataset's root, with or without "./"
  std::string tensor_key;
};
using InputSpec = std::variant<RandomInput, ScalarInput, SafetensorsInput>;

struct Workload {
  std::string uuid;  // empty in the oldest files; then `workload_id()` derives one
  std::vector<std::pair<std::string, int64_t>> axes;
  std::vector<std::pair<std::string, InputSpec>> inputs;  // an input not listed is random
  double weight = 1.0;          // calls of this shape in the captured traffic (`fib.weight`)
  std::filesystem::path root;   // dataset root that blob paths are relative to
  std::string where;            // "file.jsonl:12" it was read from
  Json original;

  std::optional<int64_t> axis(std::string_view name) const;
};

// uuid if there is one, else a stable id from the content.
std::string workload_id(const Workload& workload);

enum class TraceStatus {
  kPassed,
  kIncorrectShape,
  kIncorrectNumerical,
  kIncorrectDType,
  kRuntimeError,
  kCompileError,
  kTimeout,
};
std::string_view trace_status_name(TraceStatus status);  // "PASSED", "INCORRECT_SHAPE", ...
std::optional<TraceStatus> trace_status_from_name(std::string_view name);

struct Correctness {
  double max_relative_error = 0.0;  // may be infinite or NaN
  double max_absolute_error = 0.0;
  Json extra;                       // null when absent
};
struct Performance {
  double latency_ms = 0.0;
  double reference_latency_ms = 0.0;
  double speedup_factor = 0.0;
};
struct Evaluation {
  TraceStatus status = TraceStatus::kPassed;
  std::string hardware;                                    // old files: environment.device
  std::vector<std::pair<std::string, std::string>> libs;
  std::string timestamp;
  std::string log;
  std::optional<Correctness> correctness;
  std::optional<Performance> performance;
};

struct Trace {
  std::string definition;
  Workload workload;
  std::optional<std::string> solution;      // "" in old files reads as absent
  std::optional<Evaluation> evaluation;     // {} in old files reads as absent
  Json original;
};

Result<Workload> workload_from_json(const Json& json, std::string_view where,
                                    Strictness strictness);
Json workload_to_json(const Workload& workload);
Result<Trace> trace_from_json(const Json& json, std::string_view where, Strictness strictness);
Json trace_to_json(const Trace& trace);
// A .jsonl file (or .jsonl.gz); errors name the line. Empty lines are skipped.
Result<std::vector<Trace>> read_traces(const std::filesystem::path& file, Strictness strictness);
// Appends lines; adds a missing newline first; creates parent folders.
Result<void> append_traces(const std::filesystem::path& file, const std::vector<Trace>& traces);

struct SourceFile {
  std::string path;  // relative, safe
  std::string content;
};

enum class SolutionLanguage { kPython, kTriton, kCpp, kCuda, kTilelang };
std::string_view language_name(SolutionLanguage language);

// A Solution, ours or foreign. Ours carry `fib` (the manifest of a solution folder).
struct Solution {
  std::string name;
  std::string definition;
  std::string author;
  std::string description;
  SolutionLanguage language = SolutionLanguage::kCuda;
  std::vector<std::string> target_hardware;
  std::string entry_point;            // "file::function"
  std::vector<std::string> dependencies;
  bool destination_passing_style = true;
  std::optional<std::string> binding;  // nullopt, "tvm-ffi" or "torch"
  std::vector<SourceFile> sources;     // sorted as in the file; content included
  Json fib;                            // null for foreign solutions; see docs/solutions.md
  Json original;
  std::string where;
};

Result<Solution> solution_from_json(const Json& json, std::string_view where,
                                    Strictness strictness);
Json solution_to_json(const Solution& solution);
// The ecosystem's identity: SHA-1 of the plain concatenation (docs/formats.md).
std::string ecosystem_solution_hash(const Solution& solution);
// Our key: SHA-256 over length-prefixed fields, everything that can change behaviour.
std::string solution_key(const Solution& solution);

}  // namespace fib
