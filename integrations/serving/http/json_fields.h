#pragma once

// Typed reading of a request's JSON object, with errors in OpenAI's words.

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "integrations/serving/http/api_error.h"

namespace fib {

struct IntegerRange {
  int64_t least = std::numeric_limits<int64_t>::min();
  int64_t most = std::numeric_limits<int64_t>::max();
};

struct NumberRange {
  double least = 0.0, most = 0.0;
};

// Errors about the value `json` of the parameter `name`.
ApiError wrong_type(std::string_view name, std::string_view expected, const Json& json);
ApiError invalid_value(std::string_view name, std::string_view message);

ApiResult<int64_t> read_integer(const Json& json, std::string_view name, IntegerRange range);
ApiResult<double> read_number(const Json& json, std::string_view name, NumberRange range);
ApiResult<std::string> read_string(const Json& json, std::string_view name);

class JsonFields {
 public:
  // `prefix` stands before the names in errors: "messages[0].".
  static ApiResult<JsonFields> of(const Json& json, std::string_view name, std::string prefix);

  const Json* find(std::string_view name) const;  // absent or null: nullptr
  std::string name_of(std::string_view field) const { return prefix_ + std::string(field); }
  ApiResult<const Json*> required(std::string_view name) const;

  // nullopt where absent or null.
  ApiResult<std::optional<int64_t>> integer(std::string_view name, IntegerRange range) const;
  ApiResult<std::optional<double>> number(std::string_view name, NumberRange range) const;
  ApiResult<std::optional<bool>> boolean(std::string_view name) const;
  ApiResult<std::optional<std::string>> string(std::string_view name) const;

  // An error for the first field that is in neither list, and for one of `unsupported` whose value
  // is not the one given beside it, which asks for nothing (null always does).
  struct Unsupported {
    std::string_view name;
    Json harmless = nullptr;
  };
  ApiResult<void> check_known(std::span<const std::string_view> known,
                              std::span<const Unsupported> unsupported) const;

 private:
  JsonFields(const Json& object, std::string prefix)
      : object_(&object), prefix_(std::move(prefix)) {}

  const Json* object_;
  std::string prefix_;
};

}  // namespace fib
