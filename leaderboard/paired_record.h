#pragma once

// What the store remembers of two solutions that were timed side by side: the evidence that the
// export selects by. docs/store.md describes the table, docs/judging.md how the pair is judged.

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "harness/verdict.h"

namespace fib {

// One candidate against one incumbent on one workload and one piece of hardware.
struct PairedRecord {
  int64_t verdict_id = 0;  // the candidate's verdict that carries the pair
  std::string candidate, candidate_key;
  std::string incumbent, incumbent_key;
  std::string signature, workload;
  std::string hardware;  // DeviceInfo::key
  std::string target;    // "cpu", "cuda"
  std::string config_key;
  Json axes;                                     // solved var axes
  double weight = 1.0;                           // of the workload in its traffic
  PairedResult result = PairedResult::kNone;     // never kNone in a record of the store
  double speedup = 0.0;                          // incumbent's time over the candidate's
  double speedup_low = 0.0, speedup_high = 0.0;  // 95 %
  bool is_confirmed = false;  // FASTER twice, the second time in a fresh process; then the numbers
                              // are the second measurement's
  std::string timestamp;      // local ISO 8601
};

struct PairedQuery {
  std::string signature, hardware;  // empty: any
};

// The pair that a verdict carries; nothing: it has none.
std::optional<PairedRecord> paired_record_of(const Verdict& verdict);

// One candidate against one incumbent over the workloads of a signature on a piece of hardware.
struct PairedSummary {
  double speedup = 1.0;  // geometric mean, weighted by the workloads' traffic
  // 95 %, by the delta method: each interval gives a standard error of its logarithm, and
  // independent errors of a weighted mean add in squares.
  double speedup_low = 1.0, speedup_high = 1.0;
  int64_t workloads = 0, faster = 0, slower = 0, same = 0, ambiguous = 0;
  int64_t confirmed = 0;  // of the faster ones
};
PairedSummary summarise_pairs(std::span<const PairedRecord> records);

}  // namespace fib
