#include "integrations/package/prepared_array.h"

#include <fmt/format.h>

namespace fib {

Result<std::byte*> PreparedArray::of(const KernelCall& call, const Kernel& kernel, size_t bytes) {
  const auto error = [&](std::string message) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("{}, solution '{}'", std::move(message), kernel.solution()),
                kernel.signature().name, "call Kernel::prepare once for each set of weights");
  };
  if (call.prepared == nullptr) return error("the call lacks prepared weights");
  const auto* array = dynamic_cast<const PreparedArray*>(call.prepared);
  if (array == nullptr || !array->is_made_by(kernel)) {
    return error("the prepared weights are another kernel's");
  }
  if (array->bytes() < bytes) {
    return error(
        fmt::format("{} bytes of prepared weights, the call needs {}", array->bytes(), bytes));
  }
  return array->data();
}

}  // namespace fib
