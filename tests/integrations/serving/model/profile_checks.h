#pragma once

// Steps whose calls are timed on the device: how many there are, and that they choose the same
// tokens.

#include "integrations/package/call_times.h"
#include "tests/integrations/serving/model/served_model.h"

namespace fib {

// One step of prefill and nine of decode, of which every third is sampled; that of prefill too
// where `every_prefill`.
inline void expect_sampled_steps(const std::string& target, bool every_prefill) {
  constexpr int kDecodeSteps = 9;
  constexpr uint64_t kSampled = 3;
  const std::vector<TokenId> prompt = {17, 4, 256, 31, 99};
  const auto answer = [&](ModelExecutor& executor) {
    SteppedSequence sequence(executor, prompt);
    std::vector<TokenId> tokens = {sequence.prefill().value().token};
    for (int i = 0; i < kDecodeSteps; ++i) {
      tokens.push_back(sequence.decode(tokens.back()).value().token);
    }
    return tokens;
  };
  const auto plain = open_tiny_model(target);
  if (!plain && plain.error().code == ErrorCode::kEnvironment) {
    GTEST_SKIP() << plain.error().to_string();
  }
  ASSERT_TRUE(plain) << plain.error().to_string();
  const std::vector<TokenId> wanted = answer(*plain->executor);

  const auto sampled =
      open_tiny_model(target, {.profile_every = 3, .profile_prefill_every = every_prefill ? 1 : 0})
          .value();
  const CallTimes times(*sampled.dispatch);
  EXPECT_EQ(answer(*sampled.executor), wanted);
  int timed_signatures = 0;
  for (const CallTime& time : times.read()) {
    SCOPED_TRACE(time.signature);
    const bool is_prefill = time.signature.starts_with("gqa_paged_prefill");
    const bool is_decode = time.signature.starts_with("gqa_paged_decode");
    const uint64_t steps = is_prefill ? 1 : is_decode ? kDecodeSteps : kDecodeSteps + 1;
    const uint64_t sampled_prefill = every_prefill && !is_decode ? 1 : 0;
    const uint64_t sampled_steps = sampled_prefill + (is_prefill ? 0 : kSampled);
    EXPECT_EQ(time.sampled_calls * steps, time.calls * sampled_steps);
    EXPECT_EQ(time.device_s > 0.0, sampled_steps > 0);
    timed_signatures += sampled_steps > 0;
  }
  EXPECT_GT(timed_signatures, 5);
}

}  // namespace fib
