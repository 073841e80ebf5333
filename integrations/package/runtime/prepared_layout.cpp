#include "integrations/package/runtime/prepared_layout.h"

#include <algorithm>

namespace fib::package {

Result<PreparedLayout> lay_out_prepared(const OpSolutions& solutions,
                                        std::span<const int64_t> axes) {
  PreparedLayout layout{.replaces_originals = true};
  for (const auto& solution : solutions.all()) {
    PreparedLayout::Part& part = layout.parts.emplace_back();
    if (solution == nullptr) continue;
    auto needs = solution->prepare_needs({.axes = axes});
    if (!needs && needs.error().code != ErrorCode::kUnsupported) {
      return fail(std::move(needs).error());
    }
    layout.replaces_originals &= needs && needs->replaces_originals;
    if (!needs || needs->bytes == 0) continue;
    part = {.offset = layout.bytes, .bytes = needs->bytes};
    layout.bytes += (needs->bytes + kMemoryAlignment - 1) / kMemoryAlignment * kMemoryAlignment;
    layout.workspace_bytes = std::max(layout.workspace_bytes, needs->workspace_bytes);
  }
  layout.replaces_originals &= layout.bytes > 0;
  return layout;
}

}  // namespace fib::package
