#pragma once

// The store's file, opened as everybody who writes to it does. docs/store.md says what is promised.

#include <filesystem>

#include "leaderboard/sqlite.h"

namespace fib {

struct StoreFile {
  Database database;
  int schema_version = 0;
};

// Creates or migrates. Errors: those of Store::open.
Result<StoreFile> open_store_file(const std::filesystem::path& file);

}  // namespace fib
