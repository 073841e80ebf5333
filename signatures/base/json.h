#pragma once

// JSON with located errors. `Json` keeps key order, because in a Definition the order of inputs
// and outputs is the calling convention. A JsonView is a value together with the file and the
// JSON pointer it came from, so that every error can say "file: /axes/M/value: ...".

#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "signatures/base/result.h"

namespace fib {

using Json = nlohmann::ordered_json;

// Parses one document. Refused, with line and column ("file.json:3:14"): malformed or truncated text, a duplicate
// key in any object, invalid UTF-8, trailing text, nesting deeper than 256. `where` names the
// source in errors ("path/file.json" or "path/file.jsonl:12").
Result<Json> parse_json(std::string_view text, std::string_view where);
Result<Json> read_json_file(const std::filesystem::path& file);

// Python's json.dumps equivalents, byte for byte what the trace ecosystem writes (UTF-8 unescaped,
// shortest round-trip floats spelled as Python does: 1e-06 is written 1e-06, 2.0 as 2.0).
std::string dump_json(const Json& value);                 // compact: no spaces
std::string dump_json_pretty(const Json& value);          // indent 2, no trailing newline

class JsonView {
 public:
  JsonView(const Json& value, std::string where, std::string pointer = "");

  const Json& json() const { return *value_; }
  std::string location() const;  // "file.json: /axes/M", for Error::where
  Failure error(std::string message, std::string remedy = {}) const;

  // Each reads this value as the type, or says what was there instead.
  Result<std::string> string() const;
  Result<std::string> non_empty_string() const;
  Result<int64_t> integer() const;          // 8 and 8.0 yes; 8.5, "8" no
  Result<double> number() const;            // also "Infinity", "-Infinity", "NaN"
  Result<bool> boolean() const;
  Result<std::vector<JsonView>> array() const;
  Result<std::vector<std::string>> strings() const;
  Result<std::vector<std::pair<std::string, JsonView>>> object() const;  // in file order

  Result<JsonView> at(std::string_view key) const;                 // required member
  std::optional<JsonView> find(std::string_view key) const;        // absent or null: nullopt
  bool contains(std::string_view key) const;                       // present, even if null

  // Strict reading: an error naming the first member that is not in `keys`, with the nearest
  // known key as the remedy ("did you mean 'dtype'?").
  Result<void> only_keys(std::initializer_list<std::string_view> keys) const;

 private:
  const Json* value_;
  std::string where_;
  std::string pointer_;
};

// An Error as --json output and worker messages carry it:
// {"code": "not-found", "message": ..., "where": ..., "remedy": ...}.
Json error_to_json(const Error& error);
Error error_from_json(const Json& json);

}  // namespace fib
