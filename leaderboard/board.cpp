#include "leaderboard/board.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "leaderboard/weighting.h"

namespace fib {

namespace {

double weight_of(const BoardInput& input, const Standing& standing) {
  return std::max(input.workloads[standing.workload].weight, kLeastWeight);
}

// The logarithm of a solution's latency over the whole board, with its standard error.
struct LogLatency {
  double mean = 0.0;
  double standard_error = 0.0;
};

struct Candidate {
  const BoardEntry* entry = nullptr;
  BoardRow row;
  LogLatency latency;  // of ranked candidates
  bool is_ranked = false;
};

LogLatency log_latency(const BoardInput& input, const BoardEntry& entry) {
  double total_weight = 0.0;
  for (const Standing& standing : entry.standings) total_weight += weight_of(input, standing);
  LogLatency latency;
  double variance = 0.0;
  for (const Standing& standing : entry.standings) {
    const double share = weight_of(input, standing) / total_weight;
    const double standard_error =
        (std::log(standing.cold_high_ns) - std::log(standing.cold_low_ns)) / (2 * kZ95);
    latency.mean += share * std::log(standing.cold_ns);
    variance += share * share * standard_error * standard_error;
  }
  latency.standard_error = std::sqrt(variance);
  return latency;
}

Candidate make_candidate(const BoardInput& input, const BoardEntry& entry) {
  Candidate candidate{.entry = &entry};
  BoardRow& row = candidate.row;
  row.solution = entry.solution;
  row.solution_key = entry.solution_key;
  row.author = entry.author;
  row.signature = input.signature;
  row.hardware = input.hardware;
  row.config_key = input.config_key;
  row.workloads_total = static_cast<int64_t>(input.workloads.size());
  bool all_timed = true;
  double known_weight = 0.0;
  for (const Standing& standing : entry.standings) {
    if (!standing.failing_status.empty()) {
      if (row.failing_status.empty()) row.failing_status = standing.failing_status;
      continue;
    }
    ++row.workloads_passed;
    all_timed = all_timed && standing.cold_low_ns > 0.0;
    if (standing.roofline_fraction > 0.0) {
      const double weight = weight_of(input, standing);
      row.roofline_fraction += weight * standing.roofline_fraction;
      known_weight += weight;
    }
  }
  if (known_weight > 0.0) row.roofline_fraction /= known_weight;
  candidate.is_ranked = all_timed && row.workloads_passed == row.workloads_total;
  if (candidate.is_ranked) candidate.latency = log_latency(input, entry);
  return candidate;
}

// Of each name and author, the version judged last.
std::vector<const BoardEntry*> current_versions(const BoardInput& input) {
  std::map<std::pair<std::string_view, std::string_view>, const BoardEntry*> newest;
  for (const BoardEntry& entry : input.entries) {
    const BoardEntry*& kept = newest[{entry.solution, entry.author}];
    if (kept == nullptr || kept->newest_verdict < entry.newest_verdict) kept = &entry;
  }
  std::vector<const BoardEntry*> entries;
  for (const auto& [name, entry] : newest) entries.push_back(entry);
  return entries;
}

// The slowest of the house's ranked solutions, else the slowest ranked one; `ranked` is sorted
// fastest first and not empty.
const Candidate& choose_baseline(const std::vector<Candidate*>& ranked) {
  for (auto it = ranked.rbegin(); it != ranked.rend(); ++it) {
    if ((*it)->row.author == kHouseAuthor) return **it;
  }
  return *ranked.back();
}

void compare_with_baseline(const BoardInput& input, const Candidate& baseline,
                           Candidate& candidate) {
  BoardRow& row = candidate.row;
  const double log_speedup = baseline.latency.mean - candidate.latency.mean;
  const double half_width = kZ95 * candidate.latency.standard_error;
  row.is_baseline = &baseline == &candidate;
  row.geomean_latency_ns = std::exp(candidate.latency.mean);
  row.geomean_speedup = std::exp(log_speedup);
  row.speedup_low = std::exp(log_speedup - half_width);
  row.speedup_high = std::exp(log_speedup + half_width);
  row.worst_speedup = std::numeric_limits<double>::infinity();
  // Both are complete and sorted by workload, so positions agree.
  for (size_t i = 0; i < candidate.entry->standings.size(); ++i) {
    const Standing& standing = candidate.entry->standings[i];
    const double speedup = baseline.entry->standings[i].cold_ns / standing.cold_ns;
    if (speedup < row.worst_speedup) {
      row.worst_speedup = speedup;
      row.worst_workload = input.workloads[standing.workload].id;
    }
  }
}

}  // namespace

std::vector<BoardRow> rank_board(const BoardInput& input) {
  std::vector<Candidate> candidates;
  for (const BoardEntry* entry : current_versions(input)) {
    candidates.push_back(make_candidate(input, *entry));
  }
  std::vector<Candidate*> ranked, others;
  for (Candidate& candidate : candidates) {
    (candidate.is_ranked ? ranked : others).push_back(&candidate);
  }
  std::stable_sort(ranked.begin(), ranked.end(), [](const Candidate* a, const Candidate* b) {
    return a->latency.mean < b->latency.mean;
  });
  std::stable_sort(others.begin(), others.end(), [](const Candidate* a, const Candidate* b) {
    return a->row.workloads_passed > b->row.workloads_passed;
  });

  if (!ranked.empty()) {
    const Candidate& baseline = choose_baseline(ranked);
    for (Candidate* candidate : ranked) compare_with_baseline(input, baseline, *candidate);
  }
  const Candidate* leader = nullptr;  // first row of the current rank
  int position = 0;
  for (Candidate* candidate : ranked) {
    ++position;
    const bool is_tie = leader != nullptr && candidate->row.speedup_high >= leader->row.speedup_low;
    if (!is_tie) leader = candidate;
    candidate->row.rank = is_tie ? leader->row.rank : position;
  }

  std::vector<BoardRow> rows;
  for (Candidate* candidate : ranked) rows.push_back(std::move(candidate->row));
  for (Candidate* candidate : others) rows.push_back(std::move(candidate->row));
  return rows;
}

}  // namespace fib
