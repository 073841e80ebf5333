#include "leaderboard/run_archive.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <mutex>

#include "harness/local_time.h"
#include "leaderboard/candidate_json.h"
#include "leaderboard/run_lease.h"
#include "leaderboard/store_file.h"

namespace fib {

namespace {

constexpr std::string_view kRunColumns =
    "id, signature, target, hardware, options, state, end_reason, started, updated, active_s";

constexpr std::string_view kListRuns = "'fib agent list' lists the runs";

double unix_seconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

// A number that sums and comparisons skip where it isn't one.
void bind_finite(Statement& statement, int index, double value) {
  if (std::isfinite(value)) {
    statement.bind(index, value);
  } else {
    statement.bind(index, std::nullopt);
  }
}

std::string where_of(const Database& database, int64_t run, int64_t number) {
  return fmt::format("{}: run {}, candidate {}", database.file().string(), run, number);
}

// What comes later can't have been changed, or have been there to be the same.
Result<void> check_ancestry(const Database& database, const CandidateRecord& candidate) {
  const auto refuse = [&](std::string message) {
    return fail(ErrorCode::kInvalidInput, std::move(message),
                where_of(database, candidate.run, candidate.number));
  };
  if (candidate.number < 0) return refuse("candidates are numbered from 0");
  for (const int64_t parent : candidate.parents) {
    if (parent < 0 || parent >= candidate.number) {
      return refuse(fmt::format("its parent {} doesn't come before it", parent));
    }
  }
  if (candidate.duplicate_of &&
      (*candidate.duplicate_of < 0 || *candidate.duplicate_of >= candidate.number)) {
    return refuse(fmt::format("its twin {} doesn't come before it", *candidate.duplicate_of));
  }
  return {};
}

Result<CandidateRecord> candidate_of_row(const Database& database, int64_t run, int64_t number,
                                         std::string_view document) {
  const std::string where = where_of(database, run, number);
  const Json json = FIB_TRY(parse_json(document, where));
  CandidateRecord candidate = FIB_TRY(candidate_from_json(JsonView(json, where)));
  FIB_CHECK(check_ancestry(database, candidate));
  return candidate;
}

}  // namespace

struct RunArchive::State {
  State(Database opened, const std::filesystem::path& file)
      : database(std::move(opened)), leases(file) {}

  Failure no_run(int64_t id) const {
    return fail(ErrorCode::kNotFound, fmt::format("there is no run {}", id),
                database.file().string(), std::string(kListRuns));
  }

  Result<void> check_known(int64_t id) const {
    if (!FIB_TRY(database.integer("SELECT 1 FROM runs WHERE id = ?1", id))) return no_run(id);
    return {};
  }

  Result<void> check_ours(int64_t id) const {
    FIB_CHECK(check_known(id));
    if (leases.has(id)) return {};
    return fail(ErrorCode::kConflict, fmt::format("run {} was neither begun nor resumed here", id),
                database.file().string(), "resume it first");
  }

  // To be called inside the transaction that writes what was done in this time.
  Result<void> touch(int64_t id) const {
    return database.run(
        "UPDATE runs SET active_s = active_s + max(0.0, ?2 - touched_s), touched_s = ?2, "
        "updated = ?3 WHERE id = ?1",
        id, unix_seconds(), local_timestamp());
  }

  Result<RunRecord> run_of_row(const Statement& row) const {
    const int64_t id = row.integer(0);
    const std::string where = fmt::format("{}: run {}", database.file().string(), id);
    const auto state = run_state_from_name(row.text(5));
    if (!state) {
      return fail(ErrorCode::kInvalidInput, fmt::format("unknown state '{}'", row.text(5)), where);
    }
    RunRecord run{.id = id,
                  .signature = std::string(row.text(1)),
                  .target = std::string(row.text(2)),
                  .hardware = std::string(row.text(3)),
                  .options = FIB_TRY(parse_json(row.text(4), where)),
                  .state = *state,
                  .end_reason = std::string(row.text(6)),
                  .started = std::string(row.text(7)),
                  .updated = std::string(row.text(8)),
                  .active_s = row.number(9)};
    if (run.state == RunState::kRunning && !FIB_TRY(leases.is_taken(id))) {
      run.state = RunState::kStopped;
      run.end_reason = "killed";
    }
    return run;
  }

  Result<void> write(const CandidateRecord& candidate, std::string_view sql) const {
    Statement row = FIB_TRY(database.prepare(sql, candidate.run, candidate.number));
    row.bind(3, candidate.proposer);
    row.bind(4, candidate_fate_name(candidate.fate));
    row.bind(5, candidate.solution_key);
    bind_finite(row, 6, candidate.speedup);
    bind_finite(row, 7, candidate.speedup_low);
    bind_finite(row, 8, candidate.speedup_high);
    bind_finite(row, 9, candidate.cost.money);
    bind_finite(row, 10, candidate.device_s);
    row.bind(11, dump_json(candidate_to_json(candidate)));
    return row.run();
  }

  Database database;
  RunLeases leases;
  std::mutex mutex;  // of one connection; processes are kept apart by SQLite and the leases
};

RunArchive::RunArchive() = default;
RunArchive::~RunArchive() = default;

Result<std::unique_ptr<RunArchive>> RunArchive::open(const std::filesystem::path& store_file) {
  std::unique_ptr<RunArchive> archive(new RunArchive);
  StoreFile opened = FIB_TRY(open_store_file(store_file));
  archive->state_ = std::make_unique<State>(std::move(opened.database), store_file);
  return archive;
}

Result<int64_t> RunArchive::begin(const RunRecord& run) {
  std::lock_guard lock(state_->mutex);
  const Database& database = state_->database;
  Transaction transaction = FIB_TRY(Transaction::begin(database));
  const std::string now = local_timestamp();
  FIB_CHECK(database.run(
      "INSERT INTO runs (signature, target, hardware, options, state, end_reason, started, "
      "updated, active_s, touched_s, process) VALUES (?1, ?2, ?3, ?4, ?5, '', ?6, ?6, 0, ?7, ?8)",
      run.signature, run.target, run.hardware, dump_json(run.options),
      run_state_name(RunState::kRunning), now, unix_seconds(), int64_t{::getpid()}));
  const int64_t id = database.last_insert_id();
  if (!FIB_TRY(state_->leases.take(id))) {
    return fail(ErrorCode::kConflict,
                fmt::format("run {} of another copy of the store is under way beside it", id),
                database.file().string(), "wait until it has ended, or name another file");
  }
  if (auto committed = transaction.commit(); !committed) {
    state_->leases.give_back(id);
    return fail(committed.error());
  }
  return id;
}

Result<void> RunArchive::end(int64_t run, RunState state, std::string_view reason) {
  std::lock_guard lock(state_->mutex);
  FIB_CHECK(state_->check_ours(run));
  Transaction transaction = FIB_TRY(Transaction::begin(state_->database));
  FIB_CHECK(state_->touch(run));
  FIB_CHECK(state_->database.run("UPDATE runs SET state = ?2, end_reason = ?3 WHERE id = ?1", run,
                                 run_state_name(state), reason));
  FIB_CHECK(transaction.commit());
  state_->leases.give_back(run);
  return {};
}

Result<void> RunArchive::resume(int64_t run) {
  std::lock_guard lock(state_->mutex);
  const Database& database = state_->database;
  FIB_CHECK(state_->check_known(run));
  if (!FIB_TRY(state_->leases.take(run))) {
    const auto process = FIB_TRY(database.integer("SELECT process FROM runs WHERE id = ?1", run));
    return fail(ErrorCode::kConflict,
                fmt::format("run {} is under way in process {}", run, process.value()),
                database.file().string(), "wait until it has ended, or interrupt it");
  }
  auto taken_up = database.run(
      "UPDATE runs SET state = ?2, end_reason = '', touched_s = ?3, process = ?4 WHERE id = ?1",
      run, run_state_name(RunState::kRunning), unix_seconds(), int64_t{::getpid()});
  if (!taken_up) state_->leases.give_back(run);
  return taken_up;
}

Result<void> RunArchive::change_options(int64_t run, const Json& options) {
  std::lock_guard lock(state_->mutex);
  FIB_CHECK(state_->check_ours(run));
  return state_->database.run("UPDATE runs SET options = ?2 WHERE id = ?1", run,
                              dump_json(options));
}

Result<RunRecord> RunArchive::run(int64_t id) const {
  std::lock_guard lock(state_->mutex);
  Statement row = FIB_TRY(
      state_->database.prepare(fmt::format("SELECT {} FROM runs WHERE id = ?1", kRunColumns), id));
  if (!FIB_TRY(row.step())) return state_->no_run(id);
  return state_->run_of_row(row);
}

Result<std::vector<RunRecord>> RunArchive::runs() const {
  std::lock_guard lock(state_->mutex);
  Statement rows = FIB_TRY(
      state_->database.prepare(fmt::format("SELECT {} FROM runs ORDER BY id DESC", kRunColumns)));
  std::vector<RunRecord> runs;
  while (FIB_TRY(rows.step())) runs.push_back(FIB_TRY(state_->run_of_row(rows)));
  return runs;
}

Result<RunTotals> RunArchive::totals(int64_t run) const {
  std::lock_guard lock(state_->mutex);
  const Database& database = state_->database;
  FIB_CHECK(state_->check_known(run));
  Statement sums = FIB_TRY(database.prepare(
      "SELECT count(*), count(*) FILTER (WHERE fate = 'measured'), total(money), total(device_s) "
      "FROM candidates WHERE run_id = ?1",
      run));
  FIB_TRY(sums.step());
  RunTotals totals;
  totals.candidates = sums.integer(0);
  totals.measured = sums.integer(1);
  totals.money = sums.number(2);
  totals.device_s = sums.number(3);
  Statement best = FIB_TRY(database.prepare(
      "SELECT number, speedup, speedup_low, speedup_high FROM candidates WHERE run_id = ?1 AND "
      "fate = 'measured' AND speedup_low IS NOT NULL ORDER BY speedup_low DESC, number LIMIT 1",
      run));
  if (FIB_TRY(best.step())) {
    totals.best = best.integer(0);
    totals.speedup = best.number(1);
    totals.speedup_low = best.number(2);
    totals.speedup_high = best.number(3);
  }
  return totals;
}

Result<void> RunArchive::add(const CandidateRecord& candidate,
                             const std::vector<Exchange>& exchanges) {
  std::lock_guard lock(state_->mutex);
  const Database& database = state_->database;
  FIB_CHECK(check_ancestry(database, candidate));
  FIB_CHECK(state_->check_ours(candidate.run));
  Transaction transaction = FIB_TRY(Transaction::begin(database));
  if (FIB_TRY(database.integer("SELECT 1 FROM candidates WHERE run_id = ?1 AND number = ?2",
                               candidate.run, candidate.number))) {
    return fail(ErrorCode::kConflict, "there is such a candidate already",
                where_of(database, candidate.run, candidate.number));
  }
  FIB_CHECK(state_->write(
      candidate,
      "INSERT INTO candidates (run_id, number, proposer, fate, solution_key, speedup, speedup_low, "
      "speedup_high, money, device_s, document) "
      "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"));
  const int64_t id = database.last_insert_id();
  for (size_t i = 0; i < exchanges.size(); ++i) {
    FIB_CHECK(database.run(
        "INSERT INTO exchanges (candidate_id, position, role, content) VALUES (?1, ?2, ?3, ?4)", id,
        static_cast<int64_t>(i), exchanges[i].role, exchanges[i].content));
  }
  FIB_CHECK(state_->touch(candidate.run));
  return transaction.commit();
}

Result<void> RunArchive::confirm(const CandidateRecord& candidate) {
  std::lock_guard lock(state_->mutex);
  const Database& database = state_->database;
  FIB_CHECK(check_ancestry(database, candidate));
  FIB_CHECK(state_->check_ours(candidate.run));
  Transaction transaction = FIB_TRY(Transaction::begin(database));
  if (!FIB_TRY(database.integer(
          "SELECT 1 FROM candidates WHERE run_id = ?1 AND number = ?2 AND solution_key = ?3",
          candidate.run, candidate.number, candidate.solution_key))) {
    return fail(ErrorCode::kNotFound, "there is no such candidate with this solution",
                where_of(database, candidate.run, candidate.number));
  }
  FIB_CHECK(state_->write(
      candidate,
      "UPDATE candidates SET proposer = ?3, fate = ?4, solution_key = ?5, speedup = ?6, "
      "speedup_low = ?7, speedup_high = ?8, money = ?9, device_s = ?10, document = ?11 "
      "WHERE run_id = ?1 AND number = ?2"));
  FIB_CHECK(state_->touch(candidate.run));
  return transaction.commit();
}

Result<std::vector<CandidateRecord>> RunArchive::candidates(int64_t run) const {
  std::lock_guard lock(state_->mutex);
  const Database& database = state_->database;
  FIB_CHECK(state_->check_known(run));
  Statement rows = FIB_TRY(database.prepare(
      "SELECT number, document FROM candidates WHERE run_id = ?1 ORDER BY number", run));
  std::vector<CandidateRecord> candidates;
  while (FIB_TRY(rows.step())) {
    candidates.push_back(FIB_TRY(candidate_of_row(database, run, rows.integer(0), rows.text(1))));
  }
  return candidates;
}

Result<CandidateRecord> RunArchive::candidate(int64_t run, int64_t number) const {
  std::lock_guard lock(state_->mutex);
  const Database& database = state_->database;
  FIB_CHECK(state_->check_known(run));
  Statement row = FIB_TRY(database.prepare(
      "SELECT document FROM candidates WHERE run_id = ?1 AND number = ?2", run, number));
  if (!FIB_TRY(row.step())) {
    return fail(ErrorCode::kNotFound, fmt::format("run {} has no candidate {}", run, number),
                database.file().string(), fmt::format("'fib agent tree {}' shows them all", run));
  }
  return candidate_of_row(database, run, number, row.text(0));
}

Result<std::vector<Exchange>> RunArchive::exchanges(int64_t run, int64_t number) const {
  std::lock_guard lock(state_->mutex);
  FIB_CHECK(state_->check_known(run));
  Statement rows = FIB_TRY(state_->database.prepare(
      "SELECT role, content FROM exchanges JOIN candidates ON candidates.id = candidate_id "
      "WHERE run_id = ?1 AND number = ?2 ORDER BY position",
      run, number));
  std::vector<Exchange> exchanges;
  while (FIB_TRY(rows.step())) {
    exchanges.push_back({.role = std::string(rows.text(0)), .content = std::string(rows.text(1))});
  }
  return exchanges;
}

}  // namespace fib
