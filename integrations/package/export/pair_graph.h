#pragma once

// How two solutions compare on one workload, from pairs that may have been timed against different
// incumbents.

#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "leaderboard/paired_record.h"

namespace fib {

// What a win that was not confirmed in a fresh process is worth.
enum class UnconfirmedWins { kCount, kCountAsDraws };

// A ratio of two times with its 95 % interval.
struct Ratio {
  double speedup = 1.0, low = 1.0, high = 1.0;
};

// One solution over another.
struct Comparison {
  Ratio ratio;
  std::vector<const PairedRecord*> links;        // a chain of pairs from the one to the other
  int confirmed_wins = 0, unconfirmed_wins = 0;  // among the links
};

class PairGraph {
 public:
  // Of one candidate and incumbent the newest record counts. It has to outlive the graph.
  void add(const PairedRecord& record);

  // Along the chain with the fewest links, of these the one that is known best: the product of the
  // links' ratios. Its interval reaches from the product of the low ends to that of the high ends,
  // so that two solutions compared through a third are told apart only where their intervals don't
  // overlap. Nothing: no chain.
  std::optional<Comparison> compare(std::string_view solution_key, std::string_view other_key,
                                    UnconfirmedWins unconfirmed) const;

 private:
  std::map<std::pair<std::string_view, std::string_view>, const PairedRecord*> records_;
};

// The geometric mean by weight; the interval's ends are the means of the ends. Errors of workloads
// that were measured together are not independent, so they aren't averaged away.
class RatioMean {
 public:
  void add(const Ratio& ratio, double weight);
  Ratio mean() const;
  double weight() const { return weight_; }

 private:
  double weight_ = 0.0, log_speedup_ = 0.0, log_low_ = 0.0, log_high_ = 0.0;
};

}  // namespace fib
