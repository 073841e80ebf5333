#include "integrations/package/runtime/last_error.h"

#include <algorithm>
#include <cstring>

namespace fib::package {
namespace {

constinit thread_local char message_of_thread[1024] = "";

fib_kernels_status status_of(ErrorCode code, Stage stage) {
  switch (code) {
    case ErrorCode::kInvalidInput: return FIB_KERNELS_INVALID_ARGUMENT;
    case ErrorCode::kNotFound: return FIB_KERNELS_NOT_FOUND;
    case ErrorCode::kUnsupported: return FIB_KERNELS_UNSUPPORTED;
    case ErrorCode::kResourceExhausted: return FIB_KERNELS_OUT_OF_MEMORY;
    case ErrorCode::kEnvironment:
      return stage == Stage::kOpening ? FIB_KERNELS_NO_DRIVER : FIB_KERNELS_DEVICE_ERROR;
    case ErrorCode::kWorkerLost: return FIB_KERNELS_DEVICE_ERROR;
    default: return FIB_KERNELS_INTERNAL;
  }
}

}  // namespace

const char* last_error() { return message_of_thread; }

fib_kernels_status refuse(fib_kernels_status status, std::string_view message) {
  const size_t length = std::min(message.size(), sizeof message_of_thread - 1);
  std::memcpy(message_of_thread, message.data(), length);
  message_of_thread[length] = '\0';
  return status;
}

fib_kernels_status refuse(const Error& error, Stage stage) {
  return refuse(status_of(error.code, stage), std::string_view(error.to_string()));
}

}  // namespace fib::package
