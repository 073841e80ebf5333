#include "integrations/serving/traffic/expert_bytes.h"

#include <algorithm>

namespace fib {

ExpertTraffic ExpertTraffic::since(const ExpertTraffic& earlier) const {
  return {.calls = calls - earlier.calls,
          .tokens = tokens - earlier.tokens,
          .least_bytes = least_bytes - earlier.least_bytes,
          .most_bytes = most_bytes - earlier.most_bytes};
}

ExpertBytes::ExpertBytes(Dispatch& dispatch)
    : dispatch_(dispatch), can_read_(dispatch.device().info().target == "cpu") {
  dispatch_.add_tap(*this);
}

ExpertBytes::~ExpertBytes() { dispatch_.remove_tap(*this); }

ExpertBytes::Layout ExpertBytes::layout_of(const Signature& signature) const {
  Layout layout;
  const Axis* experts = signature.find_axis("num_experts");
  for (size_t i = 0; i < signature.inputs.size(); ++i) {
    const TensorSpec& spec = signature.inputs[i];
    if (spec.name == "topk_ids") {
      layout.ids = i;
      layout.has_experts = experts != nullptr && experts->kind == Axis::Kind::kConst;
    }
    if (!signature.is_weight(spec.name) || !spec.shape) continue;
    int64_t elements = 1;  // of one expert: all axes of a weight are const
    for (const std::string& axis : *spec.shape) {
      if (axis != "num_experts") elements *= signature.find_axis(axis)->value;
    }
    layout.bytes_per_expert += static_cast<double>(storage_bytes(spec.dtype, elements));
  }
  if (layout.has_experts) layout.num_experts = experts->value;
  return layout;
}

void ExpertBytes::on_call(const Kernel& kernel, const KernelCall& call, double) {
  auto found = layouts_.find(&kernel);
  if (found == layouts_.end()) {
    found = layouts_.emplace(&kernel, layout_of(kernel.signature())).first;
  }
  const Layout& layout = found->second;
  if (!layout.has_experts) return;
  const Operand& ids = call.inputs[layout.ids];  // int32 [tokens, top_k]
  const int64_t padding = call.padding_rows != nullptr ? *call.padding_rows : 0;
  const int64_t tokens = ids.shape[0] - padding, chosen = tokens * ids.shape[1];
  if (chosen == 0) return;
  int64_t least = ids.shape[1], most = std::min(chosen, layout.num_experts);
  if (const void* const values = ids.host != nullptr ? ids.host : can_read_ ? ids.data : nullptr) {
    least = most = count_distinct(static_cast<const int32_t*>(values), chosen, layout.num_experts);
  }
  const std::lock_guard lock(mutex_);
  ++total_.calls;
  total_.tokens += static_cast<uint64_t>(tokens);
  total_.least_bytes += static_cast<double>(least) * layout.bytes_per_expert;
  total_.most_bytes += static_cast<double>(most) * layout.bytes_per_expert;
}

int64_t ExpertBytes::count_distinct(const int32_t* ids, int64_t count, int64_t num_experts) {
  is_used_.assign(static_cast<size_t>(num_experts), 0);
  for (int64_t i = 0; i < count; ++i) {
    // Logits that aren't numbers give ids that aren't experts.
    const auto id = static_cast<size_t>(ids[i]);
    if (id < is_used_.size()) is_used_[id] = 1;
  }
  return std::count(is_used_.begin(), is_used_.end(), uint8_t{1});
}

ExpertTraffic ExpertBytes::read() const {
  const std::lock_guard lock(mutex_);
  return total_;
}

}  // namespace fib
