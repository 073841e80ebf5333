#include "leaderboard/store.h"

#include <fmt/format.h>

#include <array>
#include <map>
#include <mutex>

#include "leaderboard/board_reader.h"
#include "leaderboard/pair_table.h"
#include "leaderboard/sample_blob.h"
#include "leaderboard/sqlite.h"
#include "leaderboard/store_file.h"
#include "signatures/base/hash.h"

namespace fib {

namespace {

constexpr std::array kTimingModes = {TimingMode::kCold, TimingMode::kWarm, TimingMode::kGraph};
constexpr std::array kClocks = {Clock::kCupti, Clock::kCudaEvents, Clock::kHost};

// The id of the row of `table` whose `column` is `value`; inserted if it is new.
Result<int64_t> intern(const Database& database, std::string_view table, std::string_view column,
                       std::string_view value) {
  FIB_CHECK(database.run(
      fmt::format("INSERT INTO {} ({}) VALUES (?1) ON CONFLICT DO NOTHING", table, column), value));
  return FIB_TRY(
             database.integer(fmt::format("SELECT id FROM {} WHERE {} = ?1", table, column), value))
      .value();
}

Result<int64_t> intern_solution(const Database& database, const Solution& solution) {
  const std::string key = solution_key(solution);
  if (auto id = FIB_TRY(database.integer("SELECT id FROM solutions WHERE key = ?1", key))) {
    return *id;
  }
  FIB_CHECK(
      database.run("INSERT INTO solutions (key, name, author, definition, document, "
                   "first_seen) VALUES (?1, ?2, ?3, ?4, ?5, datetime('now'))",
                   key, solution.name, solution.author, solution.definition,
                   dump_json(solution_to_json(solution))));
  return database.last_insert_id();
}

Result<int64_t> intern_workload(const Database& database, int64_t signature_id,
                                const Workload& workload, std::string_view id) {
  // The newest weight and place of the blobs count.
  FIB_CHECK(
      database.run("INSERT INTO workloads (signature_id, workload, weight, root, document) "
                   "VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (signature_id, workload) DO UPDATE SET "
                   "weight = excluded.weight, root = excluded.root, document = excluded.document",
                   signature_id, id, workload.weight, workload.root.string(),
                   dump_json(workload_to_json(workload))));
  return FIB_TRY(
             database.integer("SELECT id FROM workloads WHERE signature_id = ?1 AND workload = ?2",
                              signature_id, id))
      .value();
}

Result<int64_t> intern_hardware(const Database& database, const DeviceInfo& device) {
  FIB_CHECK(
      database.run("INSERT INTO hardware (key, target, name) VALUES (?1, ?2, ?3) "
                   "ON CONFLICT DO NOTHING",
                   device.key, device.target, device.name));
  return FIB_TRY(database.integer("SELECT id FROM hardware WHERE key = ?1", device.key)).value();
}

Result<Verdict> verdict_of_row(const Database& database, int64_t id, std::string_view document) {
  const std::string where = fmt::format("{}: verdict {}", database.file().string(), id);
  const Json json = FIB_TRY(parse_json(document, where));
  Verdict verdict = FIB_TRY(verdict_from_json(json, where));
  verdict.id = id;
  return verdict;
}

template <class Enum, size_t kCount>
Result<Enum> enum_of_row(const std::array<Enum, kCount>& values, std::string_view (*name_of)(Enum),
                         std::string_view name, const std::string& where) {
  for (Enum value : values) {
    if (name_of(value) == name) return value;
  }
  return fail(ErrorCode::kInvalidInput, fmt::format("unknown value '{}'", name), where);
}

// The column `samples.series`: the solution alone, its pair, the pair's confirmation.
constexpr int64_t kAlone = 0, kFirstPair = 1;

Result<void> write_samples(const Database& database, int64_t verdict_id, int64_t series,
                           const ModeTiming& timing) {
  const std::vector<std::byte> blob = encode_samples(timing.samples);
  return database.run(
      "INSERT INTO samples (verdict_id, mode, clock, data, series) VALUES (?1, ?2, ?3, ?4, ?5)",
      verdict_id, timing_mode_name(timing.mode), clock_name(timing.clock), std::span(blob), series);
}

Result<void> read_samples(const Database& database, Verdict& verdict) {
  const std::string where =
      fmt::format("{}: samples of verdict {}", database.file().string(), verdict.id);
  Statement rows = FIB_TRY(database.prepare(
      "SELECT mode, clock, data, series FROM samples WHERE verdict_id = ?1 ORDER BY id",
      verdict.id));
  while (FIB_TRY(rows.step())) {
    ModeTiming timing;
    timing.mode = FIB_TRY(enum_of_row(kTimingModes, timing_mode_name, rows.text(0), where));
    timing.clock = FIB_TRY(enum_of_row(kClocks, clock_name, rows.text(1), where));
    timing.samples = FIB_TRY(decode_samples(rows.blob(2), where));
    auto& series = rows.integer(3) == kAlone ? verdict.samples : verdict.paired_samples;
    series.push_back(std::move(timing));
  }
  return {};
}

}  // namespace

struct Store::State {
  explicit State(StoreFile opened)
      : database(std::move(opened.database)), version(opened.schema_version) {}
  Database database;
  int version;
  std::mutex mutex;  // of one connection; processes are kept apart by SQLite
};

Store::Store() = default;
Store::~Store() = default;

Result<std::unique_ptr<Store>> Store::open(const std::filesystem::path& file) {
  std::unique_ptr<Store> store(new Store);
  store->state_ = std::make_unique<State>(FIB_TRY(open_store_file(file)));
  return store;
}

Result<int64_t> Store::add(const Verdict& verdict, const Solution& solution,
                           const Workload& workload) {
  std::lock_guard lock(state_->mutex);
  const Database& database = state_->database;
  Transaction transaction = FIB_TRY(Transaction::begin(database));
  const int64_t signature_id = FIB_TRY(intern(database, "signatures", "name", verdict.signature));
  const int64_t solution_id = FIB_TRY(intern_solution(database, solution));
  const int64_t workload_id =
      FIB_TRY(intern_workload(database, signature_id, workload, verdict.workload));
  const int64_t hardware_id = FIB_TRY(intern_hardware(database, verdict.device));
  const int64_t configuration_id =
      FIB_TRY(intern(database, "configurations", "key", verdict.config_key));
  const std::string_view status = trace_status_name(verdict.status);

  FIB_CHECK(
      database.run("INSERT INTO verdicts (signature_id, solution_id, workload_id, "
                   "hardware_id, configuration_id, status, reason, timestamp, document) "
                   "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                   signature_id, solution_id, workload_id, hardware_id, configuration_id, status,
                   verdict.reason, verdict.timestamp, dump_json(verdict_to_json(verdict))));
  const int64_t id = database.last_insert_id();
  for (const ModeTiming& timing : verdict.samples) {
    FIB_CHECK(write_samples(database, id, kAlone, timing));
  }
  for (size_t i = 0; i < verdict.paired_samples.size(); ++i) {
    const auto series = kFirstPair + static_cast<int64_t>(i);
    FIB_CHECK(write_samples(database, id, series, verdict.paired_samples[i]));
  }
  if (const auto record = paired_record_of(verdict)) {
    FIB_CHECK(add_pair(database,
                       {.verdict = id,
                        .signature = signature_id,
                        .solution = solution_id,
                        .workload = workload_id,
                        .hardware = hardware_id,
                        .configuration = configuration_id},
                       *record, verdict.noise_floor.value()));
  }
  const ModeSummary* cold = verdict.timing(TimingMode::kCold);
  const MedianInterval latency = cold != nullptr ? cold->latency_ns : MedianInterval{};
  FIB_CHECK(
      database.run("REPLACE INTO latest (signature_id, hardware_id, configuration_id, "
                   "solution_id, workload_id, verdict_id, status, cold_ns, cold_low_ns, "
                   "cold_high_ns, roofline_fraction) "
                   "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                   signature_id, hardware_id, configuration_id, solution_id, workload_id, id,
                   status, latency.median, latency.low, latency.high, verdict.roofline.fraction));
  FIB_CHECK(transaction.commit());
  return id;
}

Result<Verdict> Store::get(int64_t id) const {
  std::lock_guard lock(state_->mutex);
  const Database& database = state_->database;
  Statement row = FIB_TRY(database.prepare("SELECT document FROM verdicts WHERE id = ?1", id));
  if (!FIB_TRY(row.step())) {
    return fail(ErrorCode::kNotFound, fmt::format("there is no verdict {}", id),
                database.file().string(), "'fib show' without a number lists the newest ones");
  }
  Verdict verdict = FIB_TRY(verdict_of_row(database, id, row.text(0)));
  FIB_CHECK(read_samples(database, verdict));
  return verdict;
}

Result<std::optional<int64_t>> Store::find(const VerdictKey& key) const {
  std::lock_guard lock(state_->mutex);
  // Both tables name these columns alike; {} is what `latest` calls a solution and `pairs` a
  // candidate.
  constexpr std::string_view kPlace =
      "signature_id = (SELECT id FROM signatures WHERE name = ?1) AND hardware_id = (SELECT id "
      "FROM "
      "hardware WHERE key = ?2) AND configuration_id = (SELECT id FROM configurations WHERE key = "
      "?3) AND {} = (SELECT id FROM solutions WHERE key = ?4) AND workload_id = (SELECT "
      "workloads.id FROM workloads JOIN signatures ON signatures.id = signature_id WHERE "
      "signatures.name = ?1 AND workload = ?5)";
  const std::string latest =
      "SELECT verdict_id FROM latest WHERE " + fmt::format(kPlace, "solution_id");
  if (key.incumbent_key.empty()) {
    return state_->database.integer(latest, key.signature, key.hardware, key.config_key,
                                    key.solution_key, key.workload);
  }
  return state_->database.integer(
      latest + " AND status <> 'PASSED' UNION SELECT verdict_id FROM pairs WHERE " +
          fmt::format(kPlace, "candidate_id") +
          " AND incumbent_id = (SELECT id FROM solutions WHERE key = ?6) AND (is_confirmed OR "
          "result <> 'faster') ORDER BY verdict_id DESC LIMIT 1",
      key.signature, key.hardware, key.config_key, key.solution_key, key.workload,
      key.incumbent_key);
}

Result<std::vector<Verdict>> Store::query(const VerdictQuery& query) const {
  std::lock_guard lock(state_->mutex);
  const Database& database = state_->database;
  // Parameters that are empty drop out of the text, so that the indices apply to the others.
  std::string sql = "SELECT verdicts.id, verdicts.document FROM verdicts WHERE 1";
  if (!query.signature.empty()) {
    sql += " AND signature_id = (SELECT id FROM signatures WHERE name = ?1)";
  }
  if (!query.solution.empty()) {
    sql += " AND solution_id IN (SELECT id FROM solutions WHERE name = ?2 OR key = ?2)";
  }
  if (!query.hardware.empty()) {
    sql += " AND hardware_id = (SELECT id FROM hardware WHERE key = ?3)";
  }
  if (!query.status.empty()) sql += " AND status = ?4";
  if (query.only_latest) sql += " AND id IN (SELECT verdict_id FROM latest)";
  sql += " ORDER BY id DESC LIMIT ?5";
  Statement rows = FIB_TRY(database.prepare(sql));
  // Numbered parameters keep their numbers, and those the text leaves out don't exist.
  if (!query.signature.empty()) rows.bind(1, query.signature);
  if (!query.solution.empty()) rows.bind(2, query.solution);
  if (!query.hardware.empty()) rows.bind(3, query.hardware);
  if (!query.status.empty()) rows.bind(4, query.status);
  rows.bind(5, query.limit);
  std::vector<Verdict> verdicts;
  while (FIB_TRY(rows.step())) {
    verdicts.push_back(FIB_TRY(verdict_of_row(database, rows.integer(0), rows.text(1))));
  }
  return verdicts;
}

Result<int64_t> Store::count_verdicts() const {
  std::lock_guard lock(state_->mutex);
  return FIB_TRY(state_->database.integer("SELECT count(*) FROM verdicts")).value();
}

Result<std::vector<PairedRecord>> Store::paired(const PairedQuery& query) const {
  std::lock_guard lock(state_->mutex);
  return read_pairs(state_->database, query);
}

Result<void> Store::add_solution(const Solution& solution) {
  std::lock_guard lock(state_->mutex);
  Transaction transaction = FIB_TRY(Transaction::begin(state_->database));
  FIB_TRY(intern_solution(state_->database, solution));
  return transaction.commit();
}

Result<Solution> Store::solution(std::string_view key_or_name) const {
  std::lock_guard lock(state_->mutex);
  const Database& database = state_->database;
  Statement row = FIB_TRY(database.prepare(
      "SELECT document FROM solutions WHERE key = ?1 OR name = ?1 ORDER BY id DESC LIMIT 1",
      key_or_name));
  const std::string where = database.file().string();
  if (!FIB_TRY(row.step())) {
    return fail(ErrorCode::kNotFound, fmt::format("there is no solution '{}'", key_or_name), where,
                "'fib solution list --stored' lists those that were judged or imported");
  }
  const Json json = FIB_TRY(parse_json(row.text(0), where));
  return solution_from_json(json, where, Strictness::kTolerant);
}

Result<std::vector<Solution>> Store::solutions() const {
  std::lock_guard lock(state_->mutex);
  const Database& database = state_->database;
  const std::string where = database.file().string();
  Statement rows = FIB_TRY(database.prepare("SELECT document FROM solutions ORDER BY id"));
  std::vector<Solution> solutions;
  while (FIB_TRY(rows.step())) {
    const Json json = FIB_TRY(parse_json(rows.text(0), where));
    solutions.push_back(FIB_TRY(solution_from_json(json, where, Strictness::kTolerant)));
  }
  return solutions;
}

Result<Workload> Store::workload(std::string_view signature, std::string_view workload_id) const {
  std::lock_guard lock(state_->mutex);
  const Database& database = state_->database;
  const std::string where = database.file().string();
  Statement row = FIB_TRY(database.prepare(
      "SELECT document, root FROM workloads WHERE workload = ?2 AND signature_id = "
      "(SELECT id FROM signatures WHERE name = ?1)",
      signature, workload_id));
  if (!FIB_TRY(row.step())) {
    return fail(ErrorCode::kNotFound,
                fmt::format("there is no workload '{}' of {}", workload_id, signature), where);
  }
  const Json json = FIB_TRY(parse_json(row.text(0), where));
  Workload workload = FIB_TRY(workload_from_json(json, where, Strictness::kTolerant));
  workload.root = std::string(row.text(1));
  return workload;
}

Result<std::vector<BoardRow>> Store::board(std::string_view signature) const {
  std::lock_guard lock(state_->mutex);
  std::vector<BoardRow> rows;
  for (const BoardInput& input : FIB_TRY(read_boards(state_->database, signature))) {
    for (BoardRow& row : rank_board(input)) rows.push_back(std::move(row));
  }
  return rows;
}

Result<void> Store::add_definition(const Signature& signature, std::string_view origin) {
  std::lock_guard lock(state_->mutex);
  return state_->database.run(
      "REPLACE INTO definitions (name, op_type, origin, document) VALUES (?1, ?2, ?3, ?4)",
      signature.name, signature.op_type, origin, dump_json(signature.original));
}

Result<std::vector<Signature>> Store::definitions() const {
  std::lock_guard lock(state_->mutex);
  const Database& database = state_->database;
  const std::string where = database.file().string();
  Statement rows =
      FIB_TRY(database.prepare("SELECT document FROM definitions ORDER BY op_type, name"));
  std::vector<Signature> signatures;
  while (FIB_TRY(rows.step())) {
    const Json json = FIB_TRY(parse_json(rows.text(0), where));
    signatures.push_back(FIB_TRY(signature_from_json(json, where, Strictness::kTolerant)));
  }
  return signatures;
}

Result<int64_t> Store::add_foreign_traces(const std::vector<Trace>& traces,
                                          std::string_view origin) {
  std::lock_guard lock(state_->mutex);
  const Database& database = state_->database;
  Transaction transaction = FIB_TRY(Transaction::begin(database));
  const auto count = [&] { return database.integer("SELECT count(*) FROM foreign_traces"); };
  const int64_t before = FIB_TRY(count()).value();
  for (const Trace& trace : traces) {
    const std::string document = dump_json(trace_to_json(trace));
    FIB_CHECK(
        database.run("INSERT INTO foreign_traces (digest, origin, definition, document) "
                     "VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
                     sha256_hex(document), origin, trace.definition, document));
  }
  const int64_t after = FIB_TRY(count()).value();
  FIB_CHECK(transaction.commit());
  return after - before;
}

Result<std::vector<Trace>> Store::foreign_traces() const {
  std::lock_guard lock(state_->mutex);
  const Database& database = state_->database;
  const std::string where = database.file().string();
  Statement rows = FIB_TRY(database.prepare("SELECT document FROM foreign_traces ORDER BY id"));
  std::vector<Trace> traces;
  while (FIB_TRY(rows.step())) {
    const Json json = FIB_TRY(parse_json(rows.text(0), where));
    traces.push_back(FIB_TRY(trace_from_json(json, where, Strictness::kTolerant)));
  }
  return traces;
}

int Store::schema_version() const { return state_->version; }

}  // namespace fib
