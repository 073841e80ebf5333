#include "signatures/base/result.h"

namespace fib {

const char* error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidInput: return "invalid-input";
    case ErrorCode::kNotFound: return "not-found";
    case ErrorCode::kIo: return "io";
    case ErrorCode::kUnsupported: return "unsupported";
    case ErrorCode::kEnvironment: return "environment";
    case ErrorCode::kConflict: return "conflict";
    case ErrorCode::kResourceExhausted: return "resource-exhausted";
    case ErrorCode::kTimeout: return "timeout";
    case ErrorCode::kWorkerLost: return "worker-lost";
  }
  return "unknown";
}

std::string Error::to_string() const {
  std::string text = where.empty() ? message : where + ": " + message;
  if (!remedy.empty()) text += " (" + remedy + ")";
  return text;
}

}  // namespace fib
