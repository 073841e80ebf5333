#pragma once

// What an answer cost.

#include <cstddef>
#include <cstdint>

namespace fib::agents {

struct TokenUsage {
  int64_t prompt_tokens = 0, answer_tokens = 0;
  enum class Source { kCounted, kEstimated } source = Source::kCounted;  // by the endpoint; by us
};

struct TokenPrices {
  double prompt = 0.0, answer = 0.0;  // of a million tokens
};

// For an endpoint that doesn't say: four bytes a token, as English and code come to.
TokenUsage estimated_usage(size_t prompt_bytes, size_t answer_bytes);
double price_of(const TokenUsage& usage, const TokenPrices& prices);

}  // namespace fib::agents
