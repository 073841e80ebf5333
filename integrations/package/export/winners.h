#pragma once

// From the store's paired verdicts to what a package contains: for each signature, hardware and
// bucket of axes the solution that won there, or none. docs/package.md, "Selection", says how
// buckets are cut and evidence is weighed.

#include <string>
#include <vector>

#include "integrations/package/export/package_spec.h"
#include "leaderboard/paired_record.h"

namespace fib {

enum class WinnerPolicy {
  kConfirmed,     // only winners whose win was confirmed in a fresh process
  kConservative,  // and whose interval's lower end reaches min_gain on every workload of the bucket
  kFastest,       // the best estimate, confirmed or not: for trying things out
};

struct WinnerOptions {
  WinnerPolicy policy = WinnerPolicy::kConfirmed;
  double min_gain = 0.02;         // speedup - 1 that a winner must reach over the fallback
  std::vector<std::string> only;  // solutions (names or keys) that may win; empty: any
};

// A solution's newest verdict on a workload, which is not PASSED.
struct FailedVerdict {
  int64_t verdict_id = 0;
  std::string solution_key, workload, hardware;
  Json axes;
  VerdictStatus status = VerdictStatus::kRuntimeError;
};

// A signature with what is known of it.
struct WinnerInput {
  SignaturePtr signature;
  std::vector<double> own_parameters;
  std::vector<Solution> candidates;  // that have records
  std::vector<Solution> house;       // fallbacks, preferred first, any target
  std::vector<PairedRecord> records;
  std::vector<FailedVerdict> failures;
};

// Why a bucket got what it got: one line for each candidate.
struct WinnerExplanation {
  std::string signature, hardware;
  std::string bucket;                // "batch_size 9..16"
  std::string chosen;                // solution; "" for the fallback
  std::vector<std::string> reasons;  // "mine: 1.31x [1.28, 1.33] on 2 workloads, confirmed: chosen"
};

struct Winners {
  PackagedSignature packaged;
  std::vector<WinnerExplanation> explanations;
};

// kNotFound: there is no house solution, so nothing would serve what nobody won.
Result<Winners> select_winners(const WinnerInput& input, const WinnerOptions& options);

}  // namespace fib
