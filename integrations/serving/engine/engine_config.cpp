#include <fmt/format.h>

#include "integrations/serving/engine/engine.h"

namespace fib {
namespace {

Failure refuse(std::string_view field, auto value, std::string_view range) {
  return fail(ErrorCode::kInvalidInput, fmt::format("{} is {}", field, value), std::string(field),
              fmt::format("it may be {}", range));
}

}  // namespace

Result<void> EngineConfig::check(const ExecutorLimits& limits) const {
  if (chunk_tokens < 1) return refuse("chunk_tokens", chunk_tokens, "1 or more");
  if (cohort_tokens < 1) return refuse("cohort_tokens", cohort_tokens, "1 or more");
  if (max_decode_rows < 1) return refuse("max_decode_rows", max_decode_rows, "1 or more");
  if (max_queued < 1) return refuse("max_queued", max_queued, "1 or more");
  if (!(watermark >= 0.0 && watermark < 1.0)) {
    return refuse("watermark", watermark, "from 0 to below 1");
  }
  if (!(step_timeout_s > 0.0)) return refuse("step_timeout_s", step_timeout_s, "above 0");
  for (const TokenId token : eos_tokens) {
    if (token < 0 || token >= limits.vocab_size) {
      return refuse("eos_tokens", token, fmt::format("a token id below {}", limits.vocab_size));
    }
  }
  return {};
}

}  // namespace fib
