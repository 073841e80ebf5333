#pragma once

// SQLite's C API behind move-only wrappers and located errors. Only leaderboard/*.cpp includes it.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "signatures/base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace fib {

// How long a writer waits for another process before it gives up.
inline constexpr int kBusyTimeoutMs = 5000;

// What an SQLite result code means to the person whose file it is.
Error sqlite_error(int extended_code, std::string_view detail, const std::filesystem::path& file);

class Statement {
 public:
  // Parameters are numbered from 1, as in SQL. A bind that fails is reported by the next step().
  void bind(int index, int64_t value);
  void bind(int index, double value);
  void bind(int index, std::string_view text);
  void bind(int index, std::span<const std::byte> blob);
  void bind(int index, std::nullopt_t);

  Result<bool> step();  // true: a row to read
  Result<void> run();   // to the end, rows ignored

  // Columns are numbered from 0. Views are valid until the next step.
  bool is_null(int column) const;
  int64_t integer(int column) const;
  double number(int column) const;
  std::string_view text(int column) const;
  std::span<const std::byte> blob(int column) const;

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  Statement(sqlite3_stmt* statement, const std::filesystem::path& file);
  void note(int code);

  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  std::filesystem::path file_;
  int bind_code_ = 0;
};

class Database {
 public:
  // Opens or creates the file and sets the busy timeout; nothing is read or written yet.
  static Result<Database> open(const std::filesystem::path& file);

  template <class... Arguments>
  Result<Statement> prepare(std::string_view sql, const Arguments&... arguments) const {
    Statement statement = FIB_TRY(compile(sql));
    int index = 0;
    (statement.bind(++index, arguments), ...);
    return statement;
  }
  template <class... Arguments>
  Result<void> run(std::string_view sql, const Arguments&... arguments) const {
    Statement statement = FIB_TRY(prepare(sql, arguments...));
    return statement.run();
  }
  // The first column of the first row; nullopt: no row.
  template <class... Arguments>
  Result<std::optional<int64_t>> integer(std::string_view sql,
                                         const Arguments&... arguments) const {
    Statement statement = FIB_TRY(prepare(sql, arguments...));
    if (!FIB_TRY(statement.step())) return std::nullopt;
    return statement.integer(0);
  }

  Result<void> script(const std::string& sql) const;  // any number of statements
  int64_t last_insert_id() const;
  const std::filesystem::path& file() const { return file_; }

 private:
  struct Close {
    void operator()(sqlite3* handle) const;
  };
  Database(sqlite3* handle, std::filesystem::path file);
  Result<Statement> compile(std::string_view sql) const;

  std::unique_ptr<sqlite3, Close> handle_;
  std::filesystem::path file_;
};

// BEGIN IMMEDIATE (so that a lock is waited for at the start, never met half way); rolled back
// unless committed.
class Transaction {
 public:
  static Result<Transaction> begin(const Database& database);
  Transaction(Transaction&& other) noexcept;
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  Result<void> commit();

 private:
  explicit Transaction(const Database& database) : database_(&database) {}
  const Database* database_;  // null: finished
};

}  // namespace fib
