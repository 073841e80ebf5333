#include "agents/proposers/llm/pricing.h"

namespace fib::agents {

TokenUsage estimated_usage(size_t prompt_bytes, size_t answer_bytes) {
  constexpr size_t kBytesAToken = 4;
  const auto tokens = [](size_t bytes) {
    return static_cast<int64_t>((bytes + kBytesAToken - 1) / kBytesAToken);
  };
  return {.prompt_tokens = tokens(prompt_bytes),
          .answer_tokens = tokens(answer_bytes),
          .source = TokenUsage::Source::kEstimated};
}

double price_of(const TokenUsage& usage, const TokenPrices& prices) {
  return (static_cast<double>(usage.prompt_tokens) * prices.prompt +
          static_cast<double>(usage.answer_tokens) * prices.answer) /
         1e6;
}

}  // namespace fib::agents
