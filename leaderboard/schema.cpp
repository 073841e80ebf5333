#include "leaderboard/schema.h"

#include <fmt/format.h>

#include <array>

namespace fib {

namespace {

// `latest` repeats what the board needs of the newest verdict of each (solution, workload,
// hardware, configuration), clustered in the order in which the board reads it: 100,000 verdicts
// are ranked without touching the wide rows of `verdicts`. It is written in the transaction that
// adds the verdict, so the two can't disagree.
constexpr std::string_view kVersion1 = R"sql(
CREATE TABLE signatures (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE definitions (
  name TEXT PRIMARY KEY,
  op_type TEXT NOT NULL,
  origin TEXT NOT NULL,
  document TEXT NOT NULL
) STRICT;

CREATE TABLE solutions (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  author TEXT NOT NULL,
  definition TEXT NOT NULL,
  document TEXT NOT NULL,
  first_seen TEXT NOT NULL
) STRICT;
CREATE INDEX solutions_by_name ON solutions (name);

CREATE TABLE workloads (
  id INTEGER PRIMARY KEY,
  signature_id INTEGER NOT NULL REFERENCES signatures (id),
  workload TEXT NOT NULL,
  weight REAL NOT NULL,
  root TEXT NOT NULL,
  document TEXT NOT NULL,
  UNIQUE (signature_id, workload)
) STRICT;

CREATE TABLE hardware (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE,
  target TEXT NOT NULL,
  name TEXT NOT NULL
) STRICT;

CREATE TABLE configurations (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE verdicts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  signature_id INTEGER NOT NULL REFERENCES signatures (id),
  solution_id INTEGER NOT NULL REFERENCES solutions (id),
  workload_id INTEGER NOT NULL REFERENCES workloads (id),
  hardware_id INTEGER NOT NULL REFERENCES hardware (id),
  configuration_id INTEGER NOT NULL REFERENCES configurations (id),
  status TEXT NOT NULL,
  reason TEXT NOT NULL,
  timestamp TEXT NOT NULL,
  document TEXT NOT NULL
) STRICT;
CREATE INDEX verdicts_by_signature ON verdicts (signature_id, id);
CREATE INDEX verdicts_by_solution ON verdicts (solution_id, id);

CREATE TABLE samples (
  id INTEGER PRIMARY KEY,
  verdict_id INTEGER NOT NULL REFERENCES verdicts (id) ON DELETE CASCADE,
  mode TEXT NOT NULL,
  clock TEXT NOT NULL,
  data BLOB NOT NULL
) STRICT;
CREATE INDEX samples_by_verdict ON samples (verdict_id);

CREATE TABLE latest (
  signature_id INTEGER NOT NULL REFERENCES signatures (id),
  hardware_id INTEGER NOT NULL REFERENCES hardware (id),
  configuration_id INTEGER NOT NULL REFERENCES configurations (id),
  solution_id INTEGER NOT NULL REFERENCES solutions (id),
  workload_id INTEGER NOT NULL REFERENCES workloads (id),
  verdict_id INTEGER NOT NULL REFERENCES verdicts (id),
  status TEXT NOT NULL,
  cold_ns REAL NOT NULL,
  cold_low_ns REAL NOT NULL,
  cold_high_ns REAL NOT NULL,
  roofline_fraction REAL NOT NULL,
  PRIMARY KEY (signature_id, hardware_id, configuration_id, solution_id, workload_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE foreign_traces (
  id INTEGER PRIMARY KEY,
  digest TEXT NOT NULL UNIQUE,
  origin TEXT NOT NULL,
  definition TEXT NOT NULL,
  document TEXT NOT NULL
) STRICT;
)sql";

// `pairs` is what the export selects by. A verdict has one pair at most; what it says in full, and
// the samples, stand with the verdict.
constexpr std::string_view kVersion2 = R"sql(
ALTER TABLE samples ADD COLUMN series INTEGER NOT NULL DEFAULT 0;

CREATE TABLE pairs (
  verdict_id INTEGER PRIMARY KEY REFERENCES verdicts (id) ON DELETE CASCADE,
  signature_id INTEGER NOT NULL REFERENCES signatures (id),
  hardware_id INTEGER NOT NULL REFERENCES hardware (id),
  configuration_id INTEGER NOT NULL REFERENCES configurations (id),
  candidate_id INTEGER NOT NULL REFERENCES solutions (id),
  incumbent_id INTEGER NOT NULL REFERENCES solutions (id),
  workload_id INTEGER NOT NULL REFERENCES workloads (id),
  axes TEXT NOT NULL,
  result TEXT NOT NULL,
  speedup REAL NOT NULL,
  speedup_low REAL NOT NULL,
  speedup_high REAL NOT NULL,
  noise_floor REAL NOT NULL,
  is_confirmed INTEGER NOT NULL,
  timestamp TEXT NOT NULL
) STRICT;
CREATE INDEX pairs_by_contenders
  ON pairs (signature_id, hardware_id, candidate_id, incumbent_id, workload_id, verdict_id);
)sql";

// Searches. A candidate's document is kept whole; the columns beside it are what sums and the best
// are found by. NULL stands for a number that isn't finite. `touched_s` is the Unix time at which
// the process that has the run last wrote, or took it up: what lies between two is `active_s`.
constexpr std::string_view kVersion3 = R"sql(
CREATE TABLE runs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  signature TEXT NOT NULL,
  target TEXT NOT NULL,
  hardware TEXT NOT NULL,
  options TEXT NOT NULL,
  state TEXT NOT NULL,
  end_reason TEXT NOT NULL,
  started TEXT NOT NULL,
  updated TEXT NOT NULL,
  active_s REAL NOT NULL,
  touched_s REAL NOT NULL,
  process INTEGER NOT NULL
) STRICT;

CREATE TABLE candidates (
  id INTEGER PRIMARY KEY,
  run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  number INTEGER NOT NULL,
  proposer TEXT NOT NULL,
  fate TEXT NOT NULL,
  solution_key TEXT NOT NULL,
  speedup REAL,
  speedup_low REAL,
  speedup_high REAL,
  money REAL,
  device_s REAL,
  document TEXT NOT NULL,
  UNIQUE (run_id, number)
) STRICT;
CREATE INDEX candidates_by_speedup ON candidates (run_id, fate, speedup_low);

CREATE TABLE exchanges (
  candidate_id INTEGER NOT NULL REFERENCES candidates (id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  role TEXT NOT NULL,
  content TEXT NOT NULL,
  PRIMARY KEY (candidate_id, position)
) STRICT;
)sql";

// The one list of migrations. Released entries are never edited: append the next version.
constexpr std::array kMigrations = {
    Migration{1, kVersion1},
    Migration{2, kVersion2},
    Migration{3, kVersion3},
};

}  // namespace

std::span<const Migration> migrations() { return kMigrations; }

int newest_schema_version() { return kMigrations.back().to_version; }

Result<int> migrate(const Database& database, std::span<const Migration> steps) {
  const int newest = steps.back().to_version;
  const auto version = [&]() -> Result<int> {
    return static_cast<int>(FIB_TRY(database.integer("PRAGMA user_version")).value_or(0));
  };
  // An up-to-date store is recognised without taking the write lock.
  const auto is_ours = [&]() -> Result<bool> {
    return FIB_TRY(database.integer("PRAGMA application_id")) == kApplicationId;
  };
  if (FIB_TRY(is_ours()) && FIB_TRY(version()) == newest) return newest;

  Transaction transaction = FIB_TRY(Transaction::begin(database));
  const int found = FIB_TRY(version());
  if (!FIB_TRY(is_ours())) {
    const auto tables = FIB_TRY(database.integer("SELECT count(*) FROM sqlite_schema"));
    if (tables != 0 || found != 0) {
      return fail(ErrorCode::kInvalidInput, "not a store: an SQLite database of another program",
                  database.file().string(), "name another file with --store");
    }
  }
  if (found > newest) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("the store was written by a newer fib: its schema is version {}, this "
                            "one knows up to {}",
                            found, newest),
                database.file().string(), "use the newer fib, or name another file with --store");
  }
  for (const Migration& step : steps) {
    if (step.to_version > found) FIB_CHECK(database.script(std::string(step.sql)));
  }
  FIB_CHECK(database.script(
      fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {}", kApplicationId, newest)));
  FIB_CHECK(transaction.commit());
  return newest;
}

}  // namespace fib
