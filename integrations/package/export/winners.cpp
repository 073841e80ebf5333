#include "integrations/package/export/winners.h"

#include <fmt/format.h>

#include <algorithm>

#include "integrations/package/export/buckets.h"
#include "integrations/package/export/contest.h"
#include "integrations/package/export/hardware_evidence.h"
#include "leaderboard/board.h"
#include "signatures/solution_folder.h"

namespace fib {
namespace {

// "" for a foreign solution, which nothing can be built of.
SolutionManifest manifest_or_none(const Solution& solution) {
  auto manifest = manifest_of(solution);
  return manifest ? *std::move(manifest) : SolutionManifest{};
}

bool names(const std::vector<std::string>& only, const Contestant& contestant) {
  return std::any_of(only.begin(), only.end(), [&](const std::string& name) {
    return name == contestant.solution->name || name == contestant.key;
  });
}

class HardwareSelection {
 public:
  HardwareSelection(const WinnerInput& input, const WinnerOptions& options,
                    const std::vector<std::string>& axes, std::string hardware,
                    const HardwareEvidence& evidence)
      : input_(input),
        options_(options),
        axes_(axes),
        hardware_(std::move(hardware)),
        evidence_(evidence) {}

  // Adds the winners to `winners`, and why.
  void run(Winners& winners) {
    if (evidence_.ignored > 0) {
      explain(winners, "", "",
              {fmt::format("{} pairs left out: the signature had other axes, or they have no times",
                           evidence_.ignored)});
    }
    if (!find_fallback()) {
      explain(winners, "", "",
              {fmt::format("the house has no solution for {}, so nothing would serve what nobody "
                           "won: no winners",
                           evidence_.target)});
      return;
    }
    find_contestants();
    const ContestRules rules{contestants_, fallback_, options_};
    hold_contests(rules);
    std::map<Cell, std::optional<size_t>> choices;
    for (const auto& [cell, contest] : contests_) {
      choices[cell] = contest.winner;
      explain(winners, describe_intervals(intervals_of(axes_, cell, cell)),
              contest.winner ? contestants_[*contest.winner].solution->name : "",
              fib::explain(contest, rules));
    }
    HardwareChoices chosen{.hardware = hardware_, .target = evidence_.target};
    for (const Region& region : merge_cells(choices)) {
      chosen.buckets.push_back(bucket_choice(region, rules, winners.packaged.solutions));
    }
    if (!chosen.buckets.empty()) winners.packaged.hardware.push_back(std::move(chosen));
  }

 private:
  void explain(Winners& winners, std::string bucket, std::string chosen,
               std::vector<std::string> reasons) const {
    winners.explanations.push_back({.signature = input_.signature->name,
                                    .hardware = hardware_,
                                    .bucket = std::move(bucket),
                                    .chosen = std::move(chosen),
                                    .reasons = std::move(reasons)});
  }

  // What serves there when nobody won: the house's best that compiles for it.
  bool find_fallback() {
    for (const Solution& solution : input_.house) {
      if (manifest_or_none(solution).target != evidence_.target) continue;
      std::string key = solution_key(solution);
      if (evidence_.uncompiled.contains(key)) continue;
      fallback_ = {.solution = &solution, .key = std::move(key), .is_house = true};
      return true;
    }
    return false;
  }

  void find_contestants() {
    for (const auto* solutions : {&input_.candidates, &input_.house}) {
      for (const Solution& solution : *solutions) add_contestant(solution);
    }
  }

  void add_contestant(const Solution& solution) {
    const SolutionManifest manifest = manifest_or_none(solution);
    Contestant contestant{.solution = &solution,
                          .key = solution_key(solution),
                          .serves_family = solution.definition != input_.signature->name,
                          .is_house = solution.author == kHouseAuthor};
    const auto is_known = [&](const Contestant& known) { return known.key == contestant.key; };
    if (manifest.target != evidence_.target || contestant.key == fallback_.key ||
        !evidence_.solutions.contains(contestant.key) || is_superseded(contestant) ||
        std::any_of(contestants_.begin(), contestants_.end(), is_known)) {
      return;
    }
    if (!options_.only.empty() && !names(options_.only, contestant)) {
      contestant.barred = "not asked for";
    } else if (manifest.license.empty()) {
      contestant.barred = "has no licence, so it can't be passed on";
    }
    contestants_.push_back(std::move(contestant));
  }

  // A key that is asked for is meant, whatever came after it.
  bool is_superseded(const Contestant& contestant) const {
    const auto newest =
        evidence_.newest_version.find({contestant.solution->name, contestant.solution->author});
    return newest != evidence_.newest_version.end() && newest->second != contestant.key &&
           std::find(options_.only.begin(), options_.only.end(), contestant.key) ==
               options_.only.end();
  }

  void hold_contests(const ContestRules& rules) {
    for (const auto& [cell, evidence] : evidence_.cells) {
      contests_.emplace(cell, hold_contest(evidence, rules));
    }
    for (auto& [cell, contest] : contests_) settle(contest, rules, winners_beside(cell));
  }

  // Winners, so far, of the nearest measured buckets along each axis.
  std::set<size_t> winners_beside(const Cell& cell) const {
    std::set<size_t> winners;
    for (size_t axis = 0; axis < cell.size(); ++axis) {
      const Contest *below = nullptr, *above = nullptr;
      for (const auto& [other, contest] : contests_) {  // in order along the axis
        Cell moved = other;
        moved[axis] = cell[axis];
        if (moved != cell) continue;
        if (other[axis] < cell[axis]) below = &contest;
        if (other[axis] > cell[axis] && above == nullptr) above = &contest;
      }
      for (const Contest* neighbour : {below, above}) {
        if (neighbour != nullptr && neighbour->winner) winners.insert(*neighbour->winner);
      }
    }
    return winners;
  }

  BucketChoice bucket_choice(const Region& region, const ContestRules& rules,
                             std::vector<Solution>& solutions) const {
    const Contestant& winner = contestants_[region.choice];
    CellRatio over;
    for (const Cell& cell : region.measured) {
      merge(contests_.at(cell).standings[region.choice].over, over);
    }
    const Ratio mean = over.mean.mean();
    BucketChoice choice{.where = intervals_of(axes_, region.low, region.high),
                        .solution = index_of(winner, solutions)};
    choice.evidence = {.workloads = over.workloads,
                       .speedup = mean.speedup,
                       .speedup_low = mean.low,
                       .speedup_high = mean.high,
                       .incumbent = rules.fallback.solution->name};
    int64_t newest = 0;
    std::set<int64_t> verdicts;
    for (const PairedRecord* record : over.records) {
      verdicts.insert(record->verdict_id);
      if (record->verdict_id < newest) continue;
      newest = record->verdict_id;
      choice.evidence.measured = record->timestamp;
    }
    choice.evidence.verdicts.assign(verdicts.begin(), verdicts.end());
    choice.reason = fmt::format("{} over {}", describe(over), rules.fallback.solution->name);
    const auto measured = static_cast<int64_t>(region.measured.size());
    if (region.num_cells() > measured) {
      choice.reason += fmt::format("; measured in {} of {} buckets, the others lie between",
                                   measured, region.num_cells());
    }
    return choice;
  }

  static void merge(const CellRatio& cell, CellRatio& over) {
    if (over.workloads.empty() || cell.worst.speedup < over.worst.speedup) {
      over.worst = cell.worst;
      over.worst_workload = cell.worst_workload;
    }
    over.mean.add(cell.mean.mean(), cell.mean.weight());
    over.workloads.insert(over.workloads.end(), cell.workloads.begin(), cell.workloads.end());
    over.records.insert(cell.records.begin(), cell.records.end());
    over.confirmed_wins += cell.confirmed_wins;
    over.unconfirmed_wins += cell.unconfirmed_wins;
    over.chained += cell.chained;
  }

  static size_t index_of(const Contestant& winner, std::vector<Solution>& solutions) {
    for (size_t i = 0; i < solutions.size(); ++i) {
      if (solution_key(solutions[i]) == winner.key) return i;
    }
    solutions.push_back(*winner.solution);
    return solutions.size() - 1;
  }

  const WinnerInput& input_;
  const WinnerOptions& options_;
  const std::vector<std::string>& axes_;
  const std::string hardware_;
  const HardwareEvidence& evidence_;
  Contestant fallback_;
  std::vector<Contestant> contestants_;
  std::map<Cell, Contest> contests_;
};

}  // namespace

Result<Winners> select_winners(const WinnerInput& input, const WinnerOptions& options) {
  if (input.house.empty()) {
    return fail(ErrorCode::kNotFound,
                "the house has no solution for it, so nothing would serve what nobody won",
                input.signature->name, "leave it out of the package");
  }
  Winners winners;
  PackagedSignature& packaged = winners.packaged;
  packaged.signature = input.signature;
  packaged.own_parameters = input.own_parameters;
  for (const Solution& solution : input.house) {
    const std::string target = manifest_or_none(solution).target;
    if (target == "cuda") packaged.cuda_fallback.push_back(packaged.solutions.size());
    if (target == "cpu") packaged.cpu_fallback.push_back(packaged.solutions.size());
    packaged.solutions.push_back(solution);
  }
  const std::vector<std::string> axes = bucket_axes(*input.signature);
  for (const auto& [hardware, evidence] : sort_evidence(input, axes)) {
    HardwareSelection(input, options, axes, hardware, evidence).run(winners);
  }
  return winners;
}

}  // namespace fib
