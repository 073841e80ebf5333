#include "leaderboard/store_file.h"

#include <chrono>
#include <thread>

#include "leaderboard/schema.h"

namespace fib {

namespace {

// Switching a new file to WAL needs it alone for a moment, and SQLite doesn't wait for that by
// itself: two processes that create the same store at once meet here.
Result<void> use_wal(const Database& database) {
  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(kBusyTimeoutMs);
  while (true) {
    auto switched = database.run("PRAGMA journal_mode = WAL");
    if (switched || switched.error().code != ErrorCode::kConflict ||
        std::chrono::steady_clock::now() >= deadline) {
      return switched;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace

Result<StoreFile> open_store_file(const std::filesystem::path& file) {
  StoreFile opened{.database = FIB_TRY(Database::open(file))};
  opened.schema_version = FIB_TRY(migrate(opened.database, migrations()));
  FIB_CHECK(use_wal(opened.database));
  // FULL: a verdict that was reported survives a power cut too. A commit costs about half a
  // millisecond (tests/bench/bench_board), a verdict tens of them.
  FIB_CHECK(opened.database.script("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON"));
  return opened;
}

}  // namespace fib
