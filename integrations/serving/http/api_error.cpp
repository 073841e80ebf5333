#include "integrations/serving/http/api_error.h"

#include <fmt/format.h>

namespace fib {

Json api_error_json(const ApiError& error) {
  const auto text_or_null = [](const std::string& text) {
    return text.empty() ? Json(nullptr) : Json(text);
  };
  return {{"error",
           {{"message", error.message},
            {"type", error.type},
            {"param", text_or_null(error.param)},
            {"code", text_or_null(error.code)}}}};
}

ApiError model_not_found(std::string_view asked, std::string_view served) {
  return {
      .status = 404,
      .message = fmt::format("The model '{}' does not exist; this server has '{}'.", asked, served),
      .param = "model",
      .code = "model_not_found"};
}

ApiError api_error_of(const Error& error) {
  switch (error.code) {
    case ErrorCode::kInvalidInput: return {.message = error.to_string()};
    case ErrorCode::kResourceExhausted:
      return {.status = 429,
              .message = error.to_string(),
              .type = "rate_limit_error",
              .code = "rate_limit_exceeded",
              .retry_after_s = 1};
    case ErrorCode::kEnvironment:
    case ErrorCode::kWorkerLost:
      return {.status = 503,
              .message = error.to_string(),
              .type = "server_error",
              .code = "service_unavailable"};
    default: return {.status = 500, .message = error.to_string(), .type = "server_error"};
  }
}

}  // namespace fib
