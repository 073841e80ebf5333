#include "integrations/package/export/hardware_evidence.h"

#include <algorithm>
#include <cmath>
#include <optional>

namespace fib {
namespace {

// A workload that was never seen in traffic still counts, next to nothing.
constexpr double kLeastWeight = 1e-9;

std::optional<Cell> cell_of(const Json& sizes, const std::vector<std::string>& axes) {
  Cell cell;
  for (const std::string& axis : axes) {
    const auto size = sizes.is_object() ? sizes.find(axis) : sizes.end();
    if (size == sizes.end() || !size->is_number_integer() || size->get<int64_t>() < 0) {
      return std::nullopt;
    }
    cell.push_back(size_bucket(size->get<int64_t>()));
  }
  return cell;
}

bool is_usable(const PairedRecord& record) {
  return record.speedup_low > 0.0 && record.speedup > 0.0 && std::isfinite(record.speedup_high);
}

}  // namespace

std::map<std::string, HardwareEvidence> sort_evidence(const WinnerInput& input,
                                                      const std::vector<std::string>& axes) {
  std::map<std::string, HardwareEvidence> all;
  std::map<std::pair<std::string, std::string_view>, int64_t> newest;  // hardware, key -> verdict
  for (const PairedRecord& record : input.records) {
    HardwareEvidence& evidence = all[record.hardware];
    evidence.target = record.target;
    const auto cell = cell_of(record.axes, axes);
    if (!cell || !is_usable(record)) {
      ++evidence.ignored;
      continue;
    }
    WorkloadEvidence& workload = evidence.cells[*cell].workloads[record.workload];
    workload.weight = std::max(record.weight, kLeastWeight);
    workload.pairs.add(record);
    evidence.solutions.insert({record.candidate_key, record.incumbent_key});
    int64_t& verdict = newest[{record.hardware, record.candidate_key}];
    verdict = std::max(verdict, record.verdict_id);
  }
  for (const FailedVerdict& failure : input.failures) {
    const auto evidence = all.find(failure.hardware);
    if (evidence == all.end()) continue;
    if (failure.status == VerdictStatus::kCompileError) {
      evidence->second.uncompiled.insert(failure.solution_key);
    }
    // Where nothing was compared there is nothing to lose.
    const auto cell = cell_of(failure.axes, axes);
    const auto found = cell ? evidence->second.cells.find(*cell) : evidence->second.cells.end();
    if (found != evidence->second.cells.end()) found->second.failures.push_back(&failure);
  }
  for (auto& [hardware, evidence] : all) {
    std::map<std::pair<std::string, std::string>, int64_t> verdict_of;
    for (const Solution& candidate : input.candidates) {
      const std::string key = solution_key(candidate);
      const auto timed = newest.find({hardware, key});
      if (timed == newest.end()) continue;
      const std::pair version(candidate.name, candidate.author);
      if (const auto [known, is_new] = verdict_of.try_emplace(version, timed->second);
          is_new || known->second < timed->second) {
        known->second = timed->second;
        evidence.newest_version[version] = timed->first.second;
      }
    }
  }
  return all;
}

CellRatio compare_in(const CellEvidence& cell, std::string_view solution_key,
                     std::string_view other_key, UnconfirmedWins unconfirmed) {
  CellRatio result;
  for (const auto& [id, workload] : cell.workloads) {
    const auto comparison = workload.pairs.compare(solution_key, other_key, unconfirmed);
    if (!comparison) continue;
    const Ratio& ratio = comparison->ratio;
    if (result.workloads.empty() || ratio.speedup < result.worst.speedup) {
      result.worst = ratio;
      result.worst_workload = id;
    }
    result.lowest = result.workloads.empty() ? ratio.low : std::min(result.lowest, ratio.low);
    result.mean.add(ratio, workload.weight);
    result.workloads.push_back(id);
    result.records.insert(comparison->links.begin(), comparison->links.end());
    if (comparison->links.size() > 1) ++result.chained;
    if (comparison->unconfirmed_wins > 0) {
      ++result.unconfirmed_wins;
    } else if (comparison->confirmed_wins > 0) {
      ++result.confirmed_wins;
    }
  }
  return result;
}

}  // namespace fib
