#include "integrations/package/export/pair_graph.h"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace fib {
namespace {

struct Chain {
  Comparison comparison;
  bool is_settled = false;

  // Shorter, then known better.
  auto cost() const {
    const Ratio& ratio = comparison.ratio;
    return std::tuple(comparison.links.size(), std::log(ratio.high / ratio.low));
  }
};

// A record read in its own direction, or in the other.
struct Link {
  Ratio ratio;
  bool is_win = false, is_confirmed = false;
};

Link forward(const PairedRecord& record) {
  return {{record.speedup, record.speedup_low, record.speedup_high},
          record.result == PairedResult::kFaster,
          record.is_confirmed};
}
// Only a candidate's win is ever timed again.
Link backward(const PairedRecord& record) {
  return {{1.0 / record.speedup, 1.0 / record.speedup_high, 1.0 / record.speedup_low},
          record.result == PairedResult::kSlower,
          false};
}

Chain extend(const Chain& chain, Link link, const PairedRecord& record,
             UnconfirmedWins unconfirmed) {
  Comparison next = chain.comparison;
  if (link.is_win) ++(link.is_confirmed ? next.confirmed_wins : next.unconfirmed_wins);
  if (link.is_win && !link.is_confirmed && unconfirmed == UnconfirmedWins::kCountAsDraws) {
    link.ratio = {1.0, std::min(1.0, link.ratio.low), std::max(1.0, link.ratio.high)};
  }
  next.ratio.speedup *= link.ratio.speedup;
  next.ratio.low *= link.ratio.low;
  next.ratio.high *= link.ratio.high;
  next.links.push_back(&record);
  return {std::move(next)};
}

}  // namespace

void PairGraph::add(const PairedRecord& record) {
  const PairedRecord*& kept = records_[{record.candidate_key, record.incumbent_key}];
  if (kept == nullptr || kept->verdict_id < record.verdict_id) kept = &record;
}

std::optional<Comparison> PairGraph::compare(std::string_view solution_key,
                                             std::string_view other_key,
                                             UnconfirmedWins unconfirmed) const {
  // Dijkstra's: a handful of solutions were timed on one workload.
  std::map<std::string_view, Chain> chains;
  chains[solution_key];
  while (true) {
    auto nearest = chains.end();
    for (auto it = chains.begin(); it != chains.end(); ++it) {
      if (it->second.is_settled) continue;
      if (nearest == chains.end() || it->second.cost() < nearest->second.cost()) nearest = it;
    }
    if (nearest == chains.end()) return std::nullopt;
    if (nearest->first == other_key) return nearest->second.comparison;
    nearest->second.is_settled = true;
    const auto reach = [&](std::string_view to, const Link& link, const PairedRecord& record) {
      Chain chain = extend(nearest->second, link, record, unconfirmed);
      const auto [known, is_new] = chains.try_emplace(to, chain);
      if (!is_new && chain.cost() < known->second.cost()) known->second = std::move(chain);
    };
    for (const auto& [pair, record] : records_) {
      if (pair.first == nearest->first) reach(pair.second, forward(*record), *record);
      if (pair.second == nearest->first) reach(pair.first, backward(*record), *record);
    }
  }
}

void RatioMean::add(const Ratio& ratio, double weight) {
  weight_ += weight;
  log_speedup_ += weight * std::log(ratio.speedup);
  log_low_ += weight * std::log(ratio.low);
  log_high_ += weight * std::log(ratio.high);
}

Ratio RatioMean::mean() const {
  return {std::exp(log_speedup_ / weight_), std::exp(log_low_ / weight_),
          std::exp(log_high_ / weight_)};
}

}  // namespace fib
