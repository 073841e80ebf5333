#pragma once

// Results and errors. Three kinds of trouble live in fib and each has one home:
//   * a candidate that fails is a Verdict (harness/verdict.h), recorded and never thrown;
//   * a bad file, a missing tool or device is an Error, returned in a Result<T>;
//   * a broken invariant is our bug: it throws std::logic_error and is caught only in main()
//     and in a worker's entry.

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace fib {

enum class ErrorCode {
  kInvalidInput,       // a file, field or argument that breaks its rules
  kNotFound,           // a name or a file that is not there
  kIo,                 // the operating system refused a read or a write (disk full, permissions)
  kUnsupported,        // understood, but this build, machine or class of solution can't do it
  kEnvironment,        // a tool, library or device is missing or broken
  kConflict,           // the same name twice, a locked database
  kResourceExhausted,  // out of memory, device memory, quota
  kTimeout,
  kWorkerLost,         // a worker process died or stopped answering
};

// "invalid-input", "not-found", ...: the spelling used in --json output.
const char* error_code_name(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kInvalidInput;
  std::string message;  // what is wrong, in one sentence
  std::string where;    // file and place in it, as "workloads/x.jsonl:12: /workload/axes/M"
  std::string remedy;   // what to do about it; may be empty

  // "where: message (remedy)", leaving out what is empty.
  std::string to_string() const;
};

template <class T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
};

using Failure = tl::unexpected<Error>;

inline Failure fail(ErrorCode code, std::string message, std::string where = {},
                    std::string remedy = {}) {
  return Failure(Error{code, std::move(message), std::move(where), std::move(remedy)});
}
inline Failure fail(Error error) { return Failure(std::move(error)); }

}  // namespace fib

// `auto value = FIB_TRY(expression);` unwraps a Result<T> or returns its error from the
// enclosing function. FIB_CHECK does the same for Result<void>.
#define FIB_TRY(expression)                                       \
  ({                                                              \
    auto fib_result_ = (expression);                              \
    if (!fib_result_) return ::fib::fail(std::move(fib_result_).error()); \
    *std::move(fib_result_);                                      \
  })
#define FIB_CHECK(expression)                                     \
  do {                                                            \
    if (auto fib_result_ = (expression); !fib_result_)            \
      return ::fib::fail(std::move(fib_result_).error());         \
  } while (false)
