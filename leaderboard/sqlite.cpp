#include "leaderboard/sqlite.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <cstring>

namespace fib {

Error sqlite_error(int extended_code, std::string_view detail, const std::filesystem::path& file) {
  const std::string where = file.string();
  switch (extended_code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {ErrorCode::kConflict,
              fmt::format("the store is locked by another process (waited {} s)",
                          kBusyTimeoutMs / 1000),
              where,
              "wait until the other process has finished, or name another file with --store"};
    case SQLITE_NOTADB:
      return {ErrorCode::kInvalidInput, "not a store: the file is not an SQLite database", where,
              "name another file with --store, or set this one aside: mv '" + where + "' '" +
                  where + ".aside'"};
    case SQLITE_CORRUPT:
      return {ErrorCode::kInvalidInput, fmt::format("the store is damaged: {}", detail), where,
              fmt::format("set it aside (mv '{0}' '{0}.damaged'), then save what can be read with: "
                          "sqlite3 '{0}.damaged' .recover | sqlite3 '{0}'",
                          where)};
    case SQLITE_FULL:
      return {ErrorCode::kIo, "the disk is full; nothing was stored", where,
              "free some space and run the same command again: it goes on where it stood"};
    case SQLITE_READONLY:
      return {ErrorCode::kIo, fmt::format("the store can't be written: {}", detail), where,
              "make the file and its folder writable, or name another file with --store"};
    case SQLITE_CANTOPEN:
      return {ErrorCode::kIo, "the store can't be opened or created", where,
              "check that its folder exists and is writable, or name another file with --store"};
    case SQLITE_IOERR:
      return {ErrorCode::kIo, fmt::format("reading or writing the store failed: {}", detail), where,
              "check the disk, its free space and quotas, then run the same command again"};
    case SQLITE_NOMEM:
    case SQLITE_TOOBIG:
      return {ErrorCode::kResourceExhausted, fmt::format("the store gave up: {}", detail), where,
              ""};
    default:
      return {ErrorCode::kInvalidInput,
              fmt::format("the store isn't laid out as this version of fib expects: {}", detail),
              where, "name another file with --store"};
  }
}

// ---- Statement

void Statement::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

Statement::Statement(sqlite3_stmt* statement, const std::filesystem::path& file)
    : statement_(statement), file_(file) {}

void Statement::note(int code) {
  if (code != SQLITE_OK && bind_code_ == SQLITE_OK) bind_code_ = code;
}

void Statement::bind(int index, int64_t value) {
  note(sqlite3_bind_int64(statement_.get(), index, value));
}
void Statement::bind(int index, double value) {
  note(sqlite3_bind_double(statement_.get(), index, value));
}
void Statement::bind(int index, std::string_view text) {
  // A null data pointer would bind NULL instead of an empty text.
  const char* data = text.data() == nullptr ? "" : text.data();
  note(sqlite3_bind_text64(statement_.get(), index, data, text.size(), SQLITE_TRANSIENT,
                           SQLITE_UTF8));
}
void Statement::bind(int index, std::span<const std::byte> blob) {
  if (blob.empty()) {
    note(sqlite3_bind_zeroblob(statement_.get(), index, 0));
  } else {
    note(sqlite3_bind_blob64(statement_.get(), index, blob.data(), blob.size(), SQLITE_TRANSIENT));
  }
}
void Statement::bind(int index, std::nullopt_t) {
  note(sqlite3_bind_null(statement_.get(), index));
}

Result<bool> Statement::step() {
  if (bind_code_ != SQLITE_OK) {
    return fail(sqlite_error(bind_code_, sqlite3_errstr(bind_code_), file_));
  }
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  sqlite3* handle = sqlite3_db_handle(statement_.get());
  std::string detail = sqlite3_errmsg(handle);
  if (const int system = sqlite3_system_errno(handle); (code & 0xff) == SQLITE_IOERR && system) {
    detail += fmt::format(" ({})", std::strerror(system));
  }
  return fail(sqlite_error(code, detail, file_));
}

Result<void> Statement::run() {
  while (FIB_TRY(step())) {
  }
  return {};
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}
int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}
double Statement::number(int column) const {
  return sqlite3_column_double(statement_.get(), column);
}
std::string_view Statement::text(int column) const {
  const auto* data = sqlite3_column_text(statement_.get(), column);
  if (data == nullptr) return {};
  return {reinterpret_cast<const char*>(data),
          static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column))};
}
std::span<const std::byte> Statement::blob(int column) const {
  const void* data = sqlite3_column_blob(statement_.get(), column);
  return {static_cast<const std::byte*>(data),
          static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

// ---- Database

void Database::Close::operator()(sqlite3* handle) const { sqlite3_close(handle); }

Database::Database(sqlite3* handle, std::filesystem::path file)
    : handle_(handle), file_(std::move(file)) {}

Result<Database> Database::open(const std::filesystem::path& file) {
  sqlite3* handle = nullptr;
  const int code =
      sqlite3_open_v2(file.c_str(), &handle,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXRESCODE, nullptr);
  Database database(handle, file);  // even a failed open has to be closed
  if (code != SQLITE_OK) return fail(sqlite_error(code, sqlite3_errstr(code), file));
  sqlite3_busy_timeout(handle, kBusyTimeoutMs);
  return database;
}

Result<Statement> Database::compile(std::string_view sql) const {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v2(handle_.get(), sql.data(), static_cast<int>(sql.size()),
                                      &statement, nullptr);
  if (code != SQLITE_OK) return fail(sqlite_error(code, sqlite3_errmsg(handle_.get()), file_));
  return Statement(statement, file_);
}

Result<void> Database::script(const std::string& sql) const {
  const int code = sqlite3_exec(handle_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return fail(sqlite_error(code, sqlite3_errmsg(handle_.get()), file_));
  return {};
}

int64_t Database::last_insert_id() const { return sqlite3_last_insert_rowid(handle_.get()); }

// ---- Transaction

Result<Transaction> Transaction::begin(const Database& database) {
  FIB_CHECK(database.script("BEGIN IMMEDIATE"));
  return Transaction(database);
}

Transaction::Transaction(Transaction&& other) noexcept
    : database_(std::exchange(other.database_, nullptr)) {}

Transaction::~Transaction() {
  // A rollback can only fail where SQLite has rolled back by itself already.
  if (database_ != nullptr) (void)database_->script("ROLLBACK");
}

Result<void> Transaction::commit() {
  FIB_CHECK(database_->script("COMMIT"));
  database_ = nullptr;
  return {};
}

}  // namespace fib
