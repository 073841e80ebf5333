#pragma once

// What the API answers where it can't do what was asked, in OpenAI's form.

#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "signatures/base/json.h"
#include "signatures/base/result.h"

namespace fib {

struct ApiError {
  int status = 400;  // of HTTP
  std::string message;
  std::string type = "invalid_request_error";
  std::string param;            // the field, as "messages[0].role"; empty: null
  std::string code;             // for programs, as "unknown_parameter"; empty: null
  int retry_after_s = 0;        // 0: no Retry-After header
  std::string allowed_methods;  // for 405's Allow header
};

// {"error": {"message": ..., "type": ..., "param": ..., "code": ...}}
Json api_error_json(const ApiError& error);

ApiError model_not_found(std::string_view asked, std::string_view served);

// The engine's errors: 400, 429 where its queue is full, 503 where it is ending or its device is
// lost, else 500.
ApiError api_error_of(const Error& error);

template <class T>
using ApiResult = tl::expected<T, ApiError>;

// So that FIB_TRY and FIB_CHECK pass on ApiErrors as they do Errors.
inline tl::unexpected<ApiError> fail(ApiError error) {
  return tl::unexpected<ApiError>(std::move(error));
}

}  // namespace fib
