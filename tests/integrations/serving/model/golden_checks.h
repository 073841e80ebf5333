#pragma once

// What the bundled model's golden.json says, against a target. golden.json is float32 throughout;
// the engine rounds hidden states to bfloat16 after every call, as every serving engine does. That
// moves logits by some hundredths, and where two experts are nearly as likely it swaps them, which
// moves logits by up to about one half: a float32 forward pass with the same roundings, written
// apart, flips the same step of the first case (margin 0.61). So:
//   * top logits after the prompt within kLogitTolerance of golden ones, less the softmax's constant;
//   * every greedy step whose golden margin is above kMarginTolerance gives the same token, and of
//     all steps at least kEqualShare do. Golden's tokens are fed, so that one near-tie doesn't hide
//     the steps behind it.

#include <gtest/gtest.h>

#include <cmath>

#include "signatures/base/json.h"
#include "tests/integrations/serving/model/served_model.h"

namespace fib {

inline constexpr double kLogitTolerance = 0.1;
inline constexpr double kMarginTolerance = 0.75;
inline constexpr double kEqualShare = 0.97;

inline Json golden_cases() {
  return read_json_file(kTinyModel / "golden.json").value().at("cases");
}

// Differences of logits are differences of log probabilities.
inline void expect_top_logits(const Json& golden_top, const ChosenToken& got, double* worst) {
  const double anchor_logit = golden_top.at(0).at("logit");
  const TokenId anchor = golden_top.at(0).at("id");
  const auto logprob_of = [&](TokenId token) {
    for (const TokenLogprob& entry : got.top) {
      if (entry.token == token) return static_cast<double>(entry.logprob);
    }
    return std::nan("");
  };
  for (const Json& entry : golden_top) {
    const double wanted = entry.at("logit").get<double>() - anchor_logit;
    const double difference = logprob_of(entry.at("id")) - logprob_of(anchor) - wanted;
    EXPECT_LT(std::abs(difference), kLogitTolerance) << "token " << entry.at("id");
    *worst = std::max(*worst, std::abs(difference));
  }
}

inline void expect_golden(ModelExecutor& executor) {
  double worst = 0.0;
  int steps = 0, equal = 0;
  for (const Json& golden : golden_cases()) {
    SCOPED_TRACE(golden.at("name").get<std::string>());
    SteppedSequence sequence(executor, golden.at("prompt_ids").get<std::vector<TokenId>>());
    auto got = sequence.prefill(20);
    ASSERT_TRUE(got) << got.error().to_string();
    expect_top_logits(golden.at("top5"), *got, &worst);
    const auto wanted = golden.at("greedy_ids").get<std::vector<TokenId>>();
    const auto margins = golden.at("greedy_margins").get<std::vector<double>>();
    for (size_t i = 0; i < wanted.size(); ++i) {
      ++steps;
      if (got->token == wanted[i]) {
        ++equal;
      } else {
        EXPECT_LT(margins[i], kMarginTolerance) << "step " << i;
      }
      if (i + 1 == wanted.size()) break;
      got = sequence.decode(wanted[i]);
      ASSERT_TRUE(got) << got.error().to_string();
    }
  }
  EXPECT_GE(equal, kEqualShare * steps);
  printf("top logits differ by at most %.4f; %d of %d greedy steps equal\n", worst, equal, steps);
}

}  // namespace fib
