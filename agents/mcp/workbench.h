#pragma once

// What the tools need of the machine they work on. The commands have it all; this is the seam
// through which the tools get it (integrations/cli/mcp_workbench.h).

#include <functional>
#include <string>
#include <vector>

#include "agents/mcp/tool.h"
#include "harness/verdict.h"
#include "leaderboard/board.h"
#include "leaderboard/paired_record.h"
#include "signatures/catalog.h"
#include "signatures/solution_folder.h"

namespace fib::mcp {

// A build for one signature.
struct BuildReport {
  std::string signature, architecture;
  bool compiles = false, timed_out = false, from_cache = false;
  double build_ms = 0.0;
  std::string log;  // errors, or warnings
};

struct EvaluationRequest {
  Solution solution;
  std::string signature;  // empty: what the solution is written for
  std::string
      incumbent;      // whom it is timed beside: 'house', 'best', a name or a key; empty: nobody
  int64_t limit = 0;  // workloads a signature; 0: all
  bool is_quick = false, is_forced = false;
};

struct EvaluationReport {
  std::vector<Verdict> verdicts;    // stored ones of before too; without samples
  std::vector<PairedRecord> pairs;  // where there was an incumbent
  std::vector<Error> errors;        // of workloads that couldn't be judged
  bool is_interrupted = false;
};

struct ProfileRequest {
  Solution solution;
  std::string signature;  // empty: what the solution is written for
  std::string parent;     // as `incumbent` above: to tell what the change did
  int64_t limit = 0;      // workloads a signature; 0: all
  bool wants_counters = false;
};

struct ProfileReport {
  Json feedback;                              // agents/feedback/feedback.h
  std::string counters_reason;                // why there are no counters; empty: they were read
  std::vector<std::string> counters_missing;  // what of them could not be read, and why
  std::vector<int64_t> verdicts;              // stored ones of before too
  std::vector<Error> errors;                  // why it, or a workload, couldn't be measured
  bool is_interrupted = false;
};

class Workbench {
 public:
  virtual ~Workbench() = default;
  virtual const Catalog& catalog() const = 0;
  // Of the store or the house, by name or key; never a file.
  virtual Result<Solution> find_solution(const std::string& name) = 0;
  virtual Result<std::vector<BuildReport>> check(const Solution& solution,
                                                 const std::string& signature) = 0;
  virtual Result<EvaluationReport> evaluate(const EvaluationRequest& request,
                                            const ToolCall& call) = 0;
  // Builds it, and measures coarsely what compiles.
  virtual Result<ProfileReport> profile(const ProfileRequest& request, const ToolCall& call) = 0;
  virtual Result<std::vector<BoardRow>> board(const std::string& signature) = 0;
  virtual Result<Verdict> verdict(int64_t id) = 0;
};

}  // namespace fib::mcp
