#include "signatures/base/json.h"

#include <array>

namespace fib {
namespace {

constexpr std::array kErrorCodes = {
    ErrorCode::kInvalidInput, ErrorCode::kNotFound,          ErrorCode::kIo,
    ErrorCode::kUnsupported,  ErrorCode::kEnvironment,       ErrorCode::kConflict,
    ErrorCode::kTimeout,      ErrorCode::kResourceExhausted, ErrorCode::kWorkerLost,
};

std::string text_at(const Json& json, const char* key) {
  const auto member = json.find(key);
  return member != json.end() && member->is_string() ? member->get<std::string>() : std::string();
}

}  // namespace

Json error_to_json(const Error& error) {
  return {{"code", error_code_name(error.code)},
          {"message", error.message},
          {"where", error.where},
          {"remedy", error.remedy}};
}

Error error_from_json(const Json& json) {
  Error error{.code = ErrorCode::kWorkerLost, .message = "an error without a code"};
  if (!json.is_object()) return error;
  const std::string code = text_at(json, "code");
  for (const ErrorCode candidate : kErrorCodes) {
    if (code != error_code_name(candidate)) continue;
    error = {candidate, text_at(json, "message"), text_at(json, "where"), text_at(json, "remedy")};
  }
  return error;
}

}  // namespace fib
