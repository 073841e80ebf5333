#include "integrations/package/export/contest.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

namespace fib {
namespace {

constexpr double kRounding = 1e-9;  // 1 + 0.02 is not quite 1.02

std::string workloads(size_t count) {
  return fmt::format("{} workload{}", count, count == 1 ? "" : "s");
}

const FailedVerdict* find_failure(const CellEvidence& cell, const std::string& key) {
  const auto found = std::find_if(cell.failures.begin(), cell.failures.end(),
                                  [&](const FailedVerdict* f) { return f->solution_key == key; });
  return found == cell.failures.end() ? nullptr : *found;
}

class Holder {
 public:
  Holder(const CellEvidence& cell, const ContestRules& rules) : cell_(cell), rules_(rules) {}

  Contest run() && {
    for (const Contestant& contestant : rules_.contestants) {
      ContestStanding standing;
      standing.over = compare_in(cell_, contestant.key, rules_.fallback.key, rules_.unconfirmed());
      standing.loss = why_not(contestant, standing.over);
      contest_.standings.push_back(std::move(standing));
    }
    leave_out_partly_measured();
    if (rules_.options.policy == WinnerPolicy::kFastest) {
      keep_fastest();
    } else {
      leave_out_beaten();
    }
    contest_.tied = running();
    return std::move(contest_);
  }

 private:
  std::vector<size_t> running() const {
    std::vector<size_t> left;
    for (size_t i = 0; i < contest_.standings.size(); ++i) {
      if (contest_.standings[i].loss.empty()) left.push_back(i);
    }
    return left;
  }

  std::string why_not(const Contestant& contestant, const CellRatio& over) const {
    if (!contestant.barred.empty()) return contestant.barred;
    if (const FailedVerdict* failure = find_failure(cell_, contestant.key)) {
      return fmt::format("{} on {} (verdict {}), so it can't win here",
                         trace_status_name(failure->status), failure->workload,
                         failure->verdict_id);
    }
    const std::string& fallback = rules_.fallback.solution->name;
    if (over.workloads.empty()) {
      return fmt::format("not comparable: no chain of pairs leads to the fallback '{}' here",
                         fallback);
    }
    const Ratio mean = over.mean.mean();
    const double wanted = 1.0 + rules_.options.min_gain - kRounding;
    if (mean.high < 1.0) return fmt::format("slower than the fallback '{}'", fallback);
    if (mean.speedup < wanted) {
      return fmt::format("gains less than {:g} % over the fallback '{}'{}",
                         100.0 * rules_.options.min_gain, fallback, draws_note(over));
    }
    if (rules_.options.policy == WinnerPolicy::kFastest) return {};
    if (mean.low <= 1.0) {
      return fmt::format("no clear gain over the fallback '{}'{}", fallback, draws_note(over));
    }
    if (over.confirmed_wins == 0) return "no win of it was confirmed in a fresh process";
    if (rules_.options.policy == WinnerPolicy::kConfirmed) return {};
    if (over.workloads.size() < cell_.workloads.size()) {
      return fmt::format("measured on {} of {} of this bucket", over.workloads.size(),
                         workloads(cell_.workloads.size()));
    }
    if (over.lowest < wanted) {
      return fmt::format("{:g} % are not certain on every workload: {:.2f}x at least",
                         100.0 * rules_.options.min_gain, over.lowest);
    }
    return {};
  }

  static std::string_view draws_note(const CellRatio& over) {
    return over.unconfirmed_wins > 0 ? "; wins that weren't confirmed count as draws" : "";
  }

  // Means over different workloads say little about each other: who was measured on less of the
  // traffic than another doesn't run against it.
  void leave_out_partly_measured() {
    const std::vector<size_t> left = running();
    const auto weight = [&](size_t i) { return contest_.standings[i].over.mean.weight(); };
    const auto most = std::max_element(left.begin(), left.end(),
                                       [&](size_t a, size_t b) { return weight(a) < weight(b); });
    for (const size_t i : left) {
      if (weight(i) >= weight(*most) * (1.0 - kRounding)) continue;
      contest_.standings[i].loss = fmt::format(
          "measured on {} here, '{}' on {}", workloads(contest_.standings[i].over.workloads.size()),
          name(*most), contest_.standings[*most].over.workloads.size());
    }
  }

  void keep_fastest() {
    const std::vector<size_t> left = running();
    const auto speedup = [&](size_t i) { return contest_.standings[i].over.mean.mean().speedup; };
    const auto best = std::max_element(left.begin(), left.end(),
                                       [&](size_t a, size_t b) { return speedup(a) < speedup(b); });
    for (const size_t i : left) {
      if (i != *best) {
        contest_.standings[i].loss = fmt::format("'{}' is estimated faster", name(*best));
      }
    }
  }

  void leave_out_beaten() {
    const std::vector<size_t> left = running();
    std::map<size_t, std::string> beaten;
    for (const size_t loser : left) {
      for (const size_t winner : left) {
        const CellRatio ratio = compare_in(cell_, rules_.contestants[winner].key,
                                           rules_.contestants[loser].key, rules_.unconfirmed());
        if (winner == loser || ratio.workloads.empty() || ratio.mean.mean().low <= 1.0) continue;
        beaten[loser] =
            fmt::format("'{}' is {:.2f}x as fast", name(winner), ratio.mean.mean().speedup);
      }
    }
    // Each beaten by another, in a circle: nobody is better, so it is a tie.
    if (beaten.size() == left.size()) return;
    for (auto& [loser, how] : beaten) contest_.standings[loser].loss = std::move(how);
  }

  const std::string& name(size_t contestant) const {
    return rules_.contestants[contestant].solution->name;
  }

  const CellEvidence& cell_;
  const ContestRules& rules_;
  Contest contest_;
};

// Keeps those of the tied for which `is_better` holds, if it does for any; the others lose by it.
void prefer(Contest& contest, const ContestRules& rules, std::string_view merit,
            const std::function<bool(size_t)>& is_better) {
  const auto best = std::find_if(contest.tied.begin(), contest.tied.end(), is_better);
  if (best == contest.tied.end()) return;
  const std::string loss =
      fmt::format("tied with '{}', which {}", rules.contestants[*best].solution->name, merit);
  std::erase_if(contest.tied, [&](size_t contestant) {
    if (is_better(contestant)) return false;
    contest.standings[contestant].loss = loss;
    return true;
  });
}

void take_last(Contest& contest) {
  if (contest.tied.size() == 1) contest.winner = contest.tied.front();
}

}  // namespace

Contest hold_contest(const CellEvidence& cell, const ContestRules& rules) {
  Contest contest = Holder(cell, rules).run();
  prefer(contest, rules, "serves the whole family",
         [&](size_t i) { return rules.contestants[i].serves_family; });
  take_last(contest);
  return contest;
}

void settle(Contest& contest, const ContestRules& rules, const std::set<size_t>& neighbours) {
  if (contest.winner || contest.tied.empty()) return;
  prefer(contest, rules, "won in a neighbouring bucket",
         [&](size_t i) { return neighbours.contains(i); });
  prefer(contest, rules, "is the house's", [&](size_t i) { return rules.contestants[i].is_house; });
  const auto speedup = [&](size_t i) { return contest.standings[i].over.mean.mean().speedup; };
  const size_t best =
      *std::max_element(contest.tied.begin(), contest.tied.end(),
                        [&](size_t a, size_t b) { return speedup(a) < speedup(b); });
  prefer(contest, rules, "has the higher estimate", [&](size_t i) { return i == best; });
  take_last(contest);
}

std::string describe(const CellRatio& ratio) {
  const Ratio mean = ratio.mean.mean();
  std::string text = fmt::format("{:.2f}x [{:.2f}, {:.2f}] on {}", mean.speedup, mean.low,
                                 mean.high, workloads(ratio.workloads.size()));
  if (ratio.workloads.size() > 1 && ratio.worst.speedup < 1.0) {
    text += fmt::format(" ({:.2f}x on {})", ratio.worst.speedup, ratio.worst_workload);
  }
  if (ratio.chained > 0) text += ", through other solutions";
  const int wins = ratio.confirmed_wins + ratio.unconfirmed_wins;
  if (wins == 0) return text;
  if (ratio.confirmed_wins == 0) return text + ", not confirmed";
  const size_t measured = ratio.workloads.size();
  if (static_cast<size_t>(ratio.confirmed_wins) == measured) return text + ", confirmed";
  return text + fmt::format(", {} of {} confirmed", ratio.confirmed_wins, measured);
}

std::vector<std::string> explain(const Contest& contest, const ContestRules& rules) {
  std::vector<std::string> lines;
  for (size_t i = 0; i < contest.standings.size(); ++i) {
    const ContestStanding& standing = contest.standings[i];
    std::string line = rules.contestants[i].solution->name + ": ";
    if (!standing.over.workloads.empty()) line += describe(standing.over) + ": ";
    lines.push_back(line + (contest.winner == i ? "chosen" : standing.loss));
  }
  return lines;
}

}  // namespace fib
