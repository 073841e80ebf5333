#pragma once

// On the parent's side two things go wrong: the candidate fails (a Fault, recorded), or we do (an
// Error). An Attempt ends with its value or one of them; FIB_TRY and FIB_CHECK pass both on.

#include <tl/expected.hpp>
#include <variant>

#include "harness/sample.h"
#include "signatures/base/result.h"

namespace fib {

using Trouble = std::variant<Error, Fault>;

template <class T>
class [[nodiscard]] Attempt : public tl::expected<T, Trouble> {
 public:
  using tl::expected<T, Trouble>::expected;
};

inline tl::unexpected<Trouble> fail(Trouble trouble) {
  return tl::unexpected<Trouble>(std::move(trouble));
}
inline tl::unexpected<Trouble> fault(FaultKind kind, std::string message) {
  return fail(Trouble(Fault{kind, std::move(message)}));
}

}  // namespace fib
