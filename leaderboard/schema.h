#pragma once

// The store's tables and how an older store becomes a newer one. docs/store.md describes them.

#include <cstdint>
#include <span>
#include <string_view>

#include "leaderboard/sqlite.h"

namespace fib {

// "fibs": marks the file as ours in SQLite's header.
inline constexpr int64_t kApplicationId = 0x66696273;

struct Migration {
  int to_version;        // 1, 2, ...: the list is in order, without gaps
  std::string_view sql;  // applied to a store of to_version - 1
};

std::span<const Migration> migrations();
int newest_schema_version();

// Brings the file to the newest version of `steps`, in one transaction. Errors: a database of
// another program, a store newer than the last step. Returns the version reached.
Result<int> migrate(const Database& database, std::span<const Migration> steps);

}  // namespace fib
