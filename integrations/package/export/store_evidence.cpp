#include "integrations/package/export/store_evidence.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <set>
#include <tuple>

namespace fib {

Result<StoreEvidence> StoreEvidence::read(const Store& store,
                                          const std::vector<std::string>& hardware) {
  StoreEvidence evidence(store);
  std::map<std::string, const PairedRecord*> newest;  // by hardware
  const std::vector<PairedRecord> records = FIB_TRY(store.paired({}));
  for (const PairedRecord& record : records) {
    const PairedRecord*& kept = newest[record.hardware];
    if (kept == nullptr || kept->verdict_id < record.verdict_id) kept = &record;
  }
  for (const std::string& wanted : hardware) {
    if (newest.contains(wanted)) continue;
    std::vector<std::string> known;
    for (const auto& [key, record] : newest) known.push_back(key);
    return fail(ErrorCode::kNotFound,
                fmt::format("no solutions were compared on hardware '{}'", wanted), "--hardware",
                known.empty() ? "the store has no comparisons at all"
                              : fmt::format("there are comparisons on {}", fmt::join(known, ", ")));
  }
  const auto is_wanted = [&](const std::string& key) {
    return hardware.empty() || std::find(hardware.begin(), hardware.end(), key) != hardware.end();
  };
  for (const auto& [key, record] : newest) {
    if (!is_wanted(key)) continue;
    const Verdict verdict = FIB_TRY(store.get(record->verdict_id));
    evidence.hardware_[key] = {record->target, verdict.device.architecture};
  }
  for (const PairedRecord& record : records) {
    if (is_wanted(record.hardware)) evidence.records_[record.signature].push_back(record);
  }
  return evidence;
}

std::vector<std::string> StoreEvidence::signatures() const {
  std::vector<std::string> names;
  for (const auto& [name, records] : records_) names.push_back(name);
  return names;
}

bool StoreEvidence::has_solution(std::string_view name_or_key) const {
  return std::any_of(records_.begin(), records_.end(), [&](const auto& signature) {
    return std::any_of(
        signature.second.begin(), signature.second.end(), [&](const PairedRecord& record) {
          return name_or_key == record.candidate || name_or_key == record.candidate_key ||
                 name_or_key == record.incumbent || name_or_key == record.incumbent_key;
        });
  });
}

Result<void> StoreEvidence::add_to(WinnerInput& input) const {
  const auto found = records_.find(input.signature->name);
  if (found == records_.end()) return {};
  std::set<std::string> keys;
  for (const PairedRecord& record : found->second) {
    keys.insert({record.candidate_key, record.incumbent_key});
    input.records.push_back(record);
  }
  for (const std::string& key : keys) input.candidates.push_back(FIB_TRY(store_->solution(key)));
  input.failures = FIB_TRY(failures_of(input.signature->name));
  return {};
}

Result<std::vector<FailedVerdict>> StoreEvidence::failures_of(const std::string& signature) const {
  const auto verdicts =
      FIB_TRY(store_->query({.signature = signature,
                             .only_latest = true,  // of each configuration; newest first
                             .limit = std::numeric_limits<int64_t>::max()}));
  std::set<std::tuple<std::string, std::string, std::string>> judged;
  std::vector<FailedVerdict> failures;
  for (const Verdict& verdict : verdicts) {
    const bool is_newest =
        judged.insert({verdict.solution_key, verdict.workload, verdict.device.key}).second;
    if (!is_newest || verdict.status == VerdictStatus::kPassed) continue;
    failures.push_back({.verdict_id = verdict.id,
                        .solution_key = verdict.solution_key,
                        .workload = verdict.workload,
                        .hardware = verdict.device.key,
                        .axes = verdict.axes,
                        .status = verdict.status});
  }
  return failures;
}

}  // namespace fib
