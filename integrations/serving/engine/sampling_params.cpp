#include <fmt/format.h>

#include <cmath>

#include "integrations/serving/engine/request.h"

namespace fib {
namespace {

constexpr int kMostLogprobs = 20;  // OpenAI's own limit
constexpr float kLargestBias = 100.0f;
constexpr float kLargestPenalty = 2.0f;

Failure out_of_range(std::string_view field, auto value, std::string_view range) {
  return fail(ErrorCode::kInvalidInput, fmt::format("{} is {}", field, value), std::string(field),
              fmt::format("it may be {}", range));
}

Result<void> check_token(std::string_view field, TokenId token, int vocab_size) {
  if (token >= 0 && token < vocab_size) return {};
  return out_of_range(field, token, fmt::format("a token id below {}", vocab_size));
}

}  // namespace

// Comparisons are written so that NaN fails them.
Result<void> SamplingParams::check(int vocab_size) const {
  if (max_tokens < 1) return out_of_range("max_tokens", max_tokens, "1 or more");
  if (!(temperature >= 0.0f && std::isfinite(temperature))) {
    return out_of_range("temperature", temperature, "0 or more");
  }
  if (top_k < 0) return out_of_range("top_k", top_k, "0 (all) or more");
  if (!(top_p > 0.0f && top_p <= 1.0f)) return out_of_range("top_p", top_p, "above 0, up to 1");
  if (!(min_p >= 0.0f && min_p <= 1.0f)) return out_of_range("min_p", min_p, "from 0 to 1");
  if (!(repetition_penalty > 0.0f && std::isfinite(repetition_penalty))) {
    return out_of_range("repetition_penalty", repetition_penalty, "above 0");
  }
  if (!(std::abs(presence_penalty) <= kLargestPenalty)) {
    return out_of_range("presence_penalty", presence_penalty, "from -2 to 2");
  }
  if (!(std::abs(frequency_penalty) <= kLargestPenalty)) {
    return out_of_range("frequency_penalty", frequency_penalty, "from -2 to 2");
  }
  for (const auto& [token, bias] : logit_bias) {
    FIB_CHECK(check_token("logit_bias", token, vocab_size));
    if (!(std::abs(bias) <= kLargestBias)) {
      return out_of_range(fmt::format("logit_bias[{}]", token), bias, "from -100 to 100");
    }
  }
  if (logprobs < -1 || logprobs > kMostLogprobs) {
    return out_of_range("logprobs", logprobs, fmt::format("-1 (none) to {}", kMostLogprobs));
  }
  for (const TokenId token : stop_tokens) FIB_CHECK(check_token("stop_tokens", token, vocab_size));
  for (const std::string& text : stop) {
    if (text.empty()) return out_of_range("stop", "empty", "any text but the empty one");
  }
  return {};
}

}  // namespace fib
