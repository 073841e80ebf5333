#pragma once

// The paired verdicts of one signature on one piece of hardware, sorted by bucket. Private to
// winners.cpp.

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "integrations/package/export/buckets.h"
#include "integrations/package/export/pair_graph.h"
#include "integrations/package/export/winners.h"

namespace fib {

struct WorkloadEvidence {
  double weight = 1.0;
  PairGraph pairs;
};

struct CellEvidence {
  std::map<std::string, WorkloadEvidence> workloads;  // by id
  std::vector<const FailedVerdict*> failures;
};

struct HardwareEvidence {
  std::string target;
  std::map<Cell, CellEvidence> cells;
  std::set<std::string_view> solutions;  // keys of all that were timed
  // Of a solution's versions (one name and author) the newest that was timed.
  std::map<std::pair<std::string, std::string>, std::string_view> newest_version;
  std::set<std::string_view> uncompiled;  // keys of solutions that don't compile there
  int64_t ignored = 0;  // records of workloads whose axes aren't (any more) the signature's
};

// By hardware key. `input` has to outlive it.
std::map<std::string, HardwareEvidence> sort_evidence(const WinnerInput& input,
                                                      const std::vector<std::string>& axes);

// A solution over the fallback in a bucket, or over another one.
struct CellRatio {
  RatioMean mean;
  Ratio worst;          // of a workload: the one with the smallest ratio
  double lowest = 0.0;  // of the intervals' lower ends
  std::string worst_workload;
  std::vector<std::string> workloads;
  std::set<const PairedRecord*> records;
  int confirmed_wins = 0, unconfirmed_wins = 0;  // workloads
  int chained = 0;                               // workloads: through solutions between the two
};
CellRatio compare_in(const CellEvidence& cell, std::string_view solution_key,
                     std::string_view other_key, UnconfirmedWins unconfirmed);

}  // namespace fib
