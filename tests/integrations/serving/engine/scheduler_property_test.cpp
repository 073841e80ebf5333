// Random requests, caches, policies, cancellations and failures: whatever the schedule, everybody
// gets what a machine of their own would have given them.

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/integrations/serving/engine/scheduler_harness.h"

namespace fib {
namespace {

using namespace fib::testing;

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  // Not std's distributions, whose values differ between libraries.
  int between(int first, int last) {
    return first + static_cast<int>(next() % static_cast<uint64_t>(last - first + 1));
  }
  bool one_in(int n) { return between(1, n) == 1; }
  template <class T>
  T one_of(std::initializer_list<T> values) {
    return values.begin()[between(0, static_cast<int>(values.size()) - 1)];
  }

 private:
  uint64_t next() { return state_ = mix(state_, 0x5EED); }
  uint64_t state_;
};

struct Scenario {
  ExecutorLimits limits;
  EngineConfig config;
  int longest_prompt = 40;
  int num_requests = 20;
  int one_cancelled_in = 0;  // 0: none
  int one_failed_in = 0;     // steps; 0: none
};

Scenario make_scenario(Random& random) {
  Scenario scenario;
  const bool is_long = random.one_in(2);  // long prompts make cohorts of several groups
  scenario.longest_prompt = is_long ? 1400 : 40;
  scenario.num_requests = is_long ? 12 : 30;
  ExecutorLimits& limits = scenario.limits;
  limits.num_layers = random.between(1, is_long ? 20 : 6);
  limits.vocab_size = 50;
  limits.page_size = is_long ? 16 : random.one_of({1, 2, 4, 16});
  const int fewest_pages = scenario.longest_prompt / limits.page_size + 1;
  limits.num_pages = fewest_pages * random.between(1, 5) + random.between(0, 3);
  limits.max_positions = random.one_of({scenario.longest_prompt + 10, 10'000});
  limits.max_decode_rows = random.between(1, 12);
  limits.max_step_tokens = random.one_of({limits.max_decode_rows, 100, 10'000});
  limits.is_moe = !random.one_in(8);
  EngineConfig& config = scenario.config;
  config.prefill = random.one_in(3) ? PrefillPolicy::kChunked : PrefillPolicy::kLayered;
  config.chunk_tokens = is_long ? random.one_of({512, 1000}) : random.between(1, 50);
  config.cohort_tokens = is_long ? random.one_of({600, 1500, 8192}) : random.between(10, 600);
  config.max_decode_rows = random.between(1, 12);
  config.has_prefix_cache = !random.one_in(4);
  config.watermark = random.one_of({0.0, 0.01, 0.2});
  config.eos_tokens = {7};
  scenario.one_cancelled_in = random.one_of({0, 2, 5});
  scenario.one_failed_in = random.one_of({0, 0, 60});
  return scenario;
}

EngineRequest make_request(Random& random, const Scenario& scenario) {
  EngineRequest request;
  // Prompts share beginnings, and some are the same.
  const int document = random.between(1, 6);
  const int shared = random.between(1, scenario.longest_prompt);
  for (int i = 0; i < shared; ++i) {
    request.prompt.push_back(static_cast<TokenId>(mix(document, i) % 50));
  }
  const int own = random.one_of({0, 0, 1, 5});
  for (int i = 0; i < own && std::ssize(request.prompt) < scenario.longest_prompt; ++i) {
    request.prompt.push_back(random.between(0, 49));
  }
  request.priority = random.one_of({0, 0, 1});
  SamplingParams& sampling = request.sampling;
  sampling.max_tokens = random.between(1, 40);
  sampling.seed = random.between(1, 2);
  sampling.ignore_eos = random.one_in(2);
  if (random.one_in(4)) sampling.stop_tokens = {random.between(0, 49)};
  if (random.one_in(4)) sampling.repetition_penalty = 1.5f;
  if (random.one_in(4)) sampling.presence_penalty = 0.5f;
  if (random.one_in(4)) sampling.frequency_penalty = -0.3f;
  if (random.one_in(4)) sampling.logit_bias = {{3, 1.5f}, {9, -2.0f}};
  return request;
}

struct Totals {
  uint64_t preemptions = 0, cached_tokens = 0, failed = 0, cancelled = 0;
  int resets = 0, stashes_dropped = 0, cohorts = 0;
};

void run_scenario(uint64_t seed, Totals& totals) {
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  Random random(seed);
  const Scenario scenario = make_scenario(random);
  SchedulerHarness harness(scenario.limits, scenario.config);
  std::vector<RequestId> ids;
  const int most_steps = 40'000;
  int steps = 0;
  for (bool is_busy = true; is_busy && steps < most_steps; ++steps) {
    int arriving = random.one_of({0, 0, 0, 1, 5});
    while (arriving-- > 0 && std::ssize(ids) < scenario.num_requests) {
      ids.push_back(harness.add(make_request(random, scenario)));
    }
    if (scenario.one_cancelled_in > 0 && random.one_in(4 * scenario.one_cancelled_in)) {
      harness.cancel(random.between(1, scenario.num_requests));  // perhaps not known yet, or ended
    }
    const bool is_in_cohort =
        !harness.prefill().empty() && harness.prefill_layers().end < scenario.limits.num_layers;
    if (scenario.one_cancelled_in > 0 && is_in_cohort && random.one_in(4)) {
      harness.cancel(harness.prefill().back().id);
    }
    if (scenario.one_failed_in > 0 && random.one_in(scenario.one_failed_in)) {
      harness.executor().next_error = Error{.message = "a kernel failed"};
    }
    is_busy = harness.step() || std::ssize(ids) < scenario.num_requests;
  }
  EXPECT_LT(steps, most_steps) << "somebody starves";

  const EngineStats stats = harness.stats();
  uint64_t prompt_tokens = 0;
  for (const RequestId id : ids) {
    SCOPED_TRACE(::testing::Message() << "request " << id);
    const RecordingListener& heard = harness.heard(id);
    ASSERT_TRUE(heard.reason);
    prompt_tokens += heard.usage.prompt_tokens;
    EXPECT_LE(heard.usage.cached_tokens, heard.usage.prompt_tokens - 1);
    const std::vector<TokenId> expected = harness.expected(id);
    if (*heard.reason == FinishReason::kStop || *heard.reason == FinishReason::kLength) {
      EXPECT_EQ(heard.tokens, expected);
      EXPECT_EQ(heard.usage.completion_tokens,
                std::ssize(expected) + (*heard.reason == FinishReason::kStop));
    } else {
      ASSERT_LE(heard.tokens.size(), expected.size());
      EXPECT_TRUE(std::equal(heard.tokens.begin(), heard.tokens.end(), expected.begin()));
    }
  }
  // Tokens are computed again only where that was lost which had been computed.
  const int resets = harness.executor().resets();
  const int stashes_dropped = harness.executor().stashes_dropped();
  EXPECT_LE(resets, stats.preemptions + stashes_dropped);
  if (stats.preemptions + stats.cancelled + stats.failed == 0) {
    EXPECT_EQ(stats.prefill_tokens + stats.cached_tokens, prompt_tokens);
    EXPECT_EQ(stashes_dropped, 0);
  }
  EXPECT_TRUE(scenario.config.has_prefix_cache || stats.cached_tokens == 0);
  EXPECT_EQ(stats.finished + stats.cancelled + stats.failed, ids.size());
  totals.preemptions += stats.preemptions;
  totals.cached_tokens += stats.cached_tokens;
  totals.failed += stats.failed;
  totals.cancelled += stats.cancelled;
  totals.resets += resets;
  totals.stashes_dropped += stashes_dropped;
  totals.cohorts += harness.executor().cohorts();
}

TEST(SchedulerProperties, EverybodyGetsWhatTheyWouldGetAlone) {
  Totals totals;
  for (uint64_t seed = 1; seed <= 250 && !HasFailure(); ++seed) run_scenario(seed, totals);
  // The scenarios reach what they are meant to reach.
  EXPECT_GT(totals.preemptions, 300u);
  EXPECT_GT(totals.cached_tokens, 10'000u);
  EXPECT_GT(totals.failed, 100u);
  EXPECT_GT(totals.cancelled, 500u);
  EXPECT_GT(totals.resets, 300);
  EXPECT_GT(totals.stashes_dropped, 30);
  EXPECT_GT(totals.cohorts, 50);
}

}  // namespace
}  // namespace fib
