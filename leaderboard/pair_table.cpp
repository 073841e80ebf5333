#include "leaderboard/pair_table.h"

#include <fmt/format.h>

#include <array>

namespace fib {

namespace {

constexpr std::array kResults = {PairedResult::kFaster, PairedResult::kSlower, PairedResult::kSame,
                                 PairedResult::kAmbiguous};

Result<PairedResult> result_of_row(std::string_view name, const std::string& where) {
  for (const PairedResult result : kResults) {
    if (paired_result_name(result) == name) return result;
  }
  return fail(ErrorCode::kInvalidInput, fmt::format("unknown result '{}' of a pair", name), where);
}

}  // namespace

Result<void> add_pair(const Database& database, const VerdictIds& ids, const PairedRecord& record,
                      double noise_floor) {
  const auto incumbent =
      FIB_TRY(database.integer("SELECT id FROM solutions WHERE key = ?1", record.incumbent_key));
  if (!incumbent) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("the incumbent '{}' of a pair is not in the store", record.incumbent),
                database.file().string(), "add the incumbent's solution before the verdict");
  }
  return database.run(
      "INSERT INTO pairs (verdict_id, signature_id, hardware_id, configuration_id, candidate_id, "
      "incumbent_id, workload_id, axes, result, speedup, speedup_low, speedup_high, noise_floor, "
      "is_confirmed, timestamp) "
      "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
      ids.verdict, ids.signature, ids.hardware, ids.configuration, ids.solution, *incumbent,
      ids.workload, dump_json(record.axes), paired_result_name(record.result), record.speedup,
      record.speedup_low, record.speedup_high, noise_floor, int64_t{record.is_confirmed},
      record.timestamp);
}

Result<std::vector<PairedRecord>> read_pairs(const Database& database, const PairedQuery& query) {
  const std::string where = database.file().string();
  std::string newest = "SELECT max(verdict_id) FROM pairs WHERE 1";
  // Parameters that are empty drop out of the text, so that the index applies to the others.
  if (!query.signature.empty()) {
    newest += " AND signature_id = (SELECT id FROM signatures WHERE name = ?1)";
  }
  if (!query.hardware.empty()) {
    newest += " AND hardware_id = (SELECT id FROM hardware WHERE key = ?2)";
  }
  newest += " GROUP BY signature_id, hardware_id, candidate_id, incumbent_id, workload_id";
  Statement rows = FIB_TRY(database.prepare(fmt::format(
      "SELECT verdict_id, candidates.name, candidates.key, incumbents.name, incumbents.key, "
      "signatures.name, workloads.workload, hardware.key, hardware.target, configurations.key, "
      "axes, workloads.weight, result, speedup, speedup_low, speedup_high, is_confirmed, timestamp "
      "FROM pairs "
      "JOIN solutions AS candidates ON candidates.id = candidate_id "
      "JOIN solutions AS incumbents ON incumbents.id = incumbent_id "
      "JOIN signatures ON signatures.id = pairs.signature_id "
      "JOIN workloads ON workloads.id = workload_id "
      "JOIN hardware ON hardware.id = hardware_id "
      "JOIN configurations ON configurations.id = configuration_id "
      "WHERE verdict_id IN ({}) ORDER BY verdict_id",
      newest)));
  if (!query.signature.empty()) rows.bind(1, query.signature);
  if (!query.hardware.empty()) rows.bind(2, query.hardware);
  std::vector<PairedRecord> records;
  while (FIB_TRY(rows.step())) {
    const std::string place = fmt::format("{}: pair of verdict {}", where, rows.integer(0));
    records.push_back({.verdict_id = rows.integer(0),
                       .candidate = std::string(rows.text(1)),
                       .candidate_key = std::string(rows.text(2)),
                       .incumbent = std::string(rows.text(3)),
                       .incumbent_key = std::string(rows.text(4)),
                       .signature = std::string(rows.text(5)),
                       .workload = std::string(rows.text(6)),
                       .hardware = std::string(rows.text(7)),
                       .target = std::string(rows.text(8)),
                       .config_key = std::string(rows.text(9)),
                       .axes = FIB_TRY(parse_json(rows.text(10), place)),
                       .weight = rows.number(11),
                       .result = FIB_TRY(result_of_row(rows.text(12), place)),
                       .speedup = rows.number(13),
                       .speedup_low = rows.number(14),
                       .speedup_high = rows.number(15),
                       .is_confirmed = rows.integer(16) != 0,
                       .timestamp = std::string(rows.text(17))});
  }
  return records;
}

}  // namespace fib
