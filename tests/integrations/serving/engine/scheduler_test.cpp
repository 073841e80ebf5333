// The scheduler's decisions, one by one; scheduler_property_test.cpp holds them all together.

#include "integrations/serving/engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

#include "integrations/serving/engine/layered_prefill.h"
#include "tests/integrations/serving/engine/scheduler_harness.h"

namespace fib {
namespace {

using namespace fib::testing;
using Segments = std::vector<SchedulerHarness::PlannedSegment>;

const ExecutorLimits kRoomy{.num_layers = 6,
                            .vocab_size = 50,
                            .max_positions = 100'000,
                            .page_size = 4,
                            .num_pages = 10'000,
                            .max_step_tokens = 20'000,
                            .max_decode_rows = 64,
                            .is_moe = true};

// A prompt nobody else has, unless they give the same `first`.
EngineRequest request(int num_tokens, int max_tokens, TokenId first) {
  EngineRequest made{.prompt = std::vector<TokenId>(num_tokens, first)};
  made.sampling.max_tokens = max_tokens;
  made.sampling.ignore_eos = true;
  return made;
}

TEST(LayerGroups, DoubleWithTheCohort) {
  const std::pair<int, int> expected[] = {{1, 1},    {512, 1},  {513, 2},  {1024, 2},  {1025, 4},
                                          {2048, 4}, {2049, 8}, {4096, 8}, {4097, 16}, {8192, 16}};
  for (const auto& [tokens, groups] : expected) {
    EXPECT_EQ(num_layer_groups(tokens, 48), groups) << tokens;
    EXPECT_EQ(num_layer_groups(tokens, 3), std::min(groups, 3)) << tokens;
  }
}

TEST(LayerGroups, AreContiguousAndEven) {
  for (const int num_layers : {1, 5, 48, 61, 62}) {
    for (int num_groups = 1; num_groups <= std::min(num_layers, 16); ++num_groups) {
      int next = 0;
      for (int group = 0; group < num_groups; ++group) {
        const LayerRange range = layer_group(group, num_groups, num_layers);
        EXPECT_EQ(range.begin, next);
        EXPECT_GE(range.end - range.begin, num_layers / num_groups);
        EXPECT_LE(range.end - range.begin, (num_layers + num_groups - 1) / num_groups);
        next = range.end;
      }
      EXPECT_EQ(next, num_layers);
    }
  }
}

TEST(ChunkedPrefill, SharesAChunkInOrderBesideTheDecodes) {
  SchedulerHarness harness(kRoomy, {.chunk_tokens = 10});
  harness.add(request(6, 5, 1));
  harness.add(request(9, 5, 2));
  harness.add(request(3, 5, 3));
  harness.step();
  EXPECT_EQ(harness.prefill(), (Segments{{1, 0, 6}, {2, 0, 4}}));
  EXPECT_EQ(harness.prefill_layers(), (LayerRange{0, 6}));
  harness.step();
  EXPECT_EQ(harness.decode(), (Segments{{1, 6, 1}}));
  EXPECT_EQ(harness.prefill(), (Segments{{2, 4, 5}, {3, 0, 3}}));
  harness.step();
  EXPECT_EQ(harness.decode(), (Segments{{1, 7, 1}, {2, 9, 1}, {3, 3, 1}}));
  EXPECT_TRUE(harness.prefill().empty());
  harness.finish();
  for (const RequestId id : {1, 2, 3}) EXPECT_EQ(harness.heard(id).tokens, harness.expected(id));
}

TEST(ChunkedPrefill, LeavesRoomForTheDecodes) {
  ExecutorLimits limits = kRoomy;
  limits.max_step_tokens = 8;
  SchedulerHarness harness(limits, {.chunk_tokens = 8});
  harness.add(request(2, 50, 1));
  harness.add(request(2, 50, 2));
  harness.step();
  harness.add(request(20, 1, 3));
  harness.step();
  EXPECT_EQ(harness.decode().size(), 2u);
  EXPECT_EQ(harness.prefill(), (Segments{{3, 0, 6}}));
}

TEST(ChunkedPrefill, TakesNoMoreSegmentsThanTheExecutor) {
  ExecutorLimits limits = kRoomy;
  limits.max_prefill_segments = 2;
  SchedulerHarness harness(limits, {.chunk_tokens = 10});
  for (TokenId first = 1; first <= 3; ++first) harness.add(request(3, 2, first));
  harness.step();
  EXPECT_EQ(harness.prefill(), (Segments{{1, 0, 3}, {2, 0, 3}}));
  harness.step();
  EXPECT_EQ(harness.prefill(), (Segments{{3, 0, 3}}));
  harness.finish();
  EXPECT_EQ(harness.heard(3).tokens, harness.expected(3));
}

TEST(ChunkedPrefill, ServesDenseModelsUnderEitherPolicy) {
  ExecutorLimits limits = kRoomy;
  limits.is_moe = false;
  SchedulerHarness harness(limits, {.prefill = PrefillPolicy::kLayered, .chunk_tokens = 512});
  harness.add(request(2000, 1, 1));
  harness.step();
  EXPECT_EQ(harness.prefill(), (Segments{{1, 0, 512}}));
  EXPECT_EQ(harness.prefill_layers(), (LayerRange{0, 6}));
}

class LayeredPrefill : public ::testing::Test {
 protected:
  SchedulerHarness harness_{kRoomy, {.prefill = PrefillPolicy::kLayered, .cohort_tokens = 3000}};
};

TEST_F(LayeredPrefill, TakesACohortThroughOneGroupAStep) {
  const RequestId early = harness_.add(request(5, 100, 1));
  harness_.step();
  harness_.add(request(800, 5, 2));
  harness_.add(request(700, 5, 3));
  const LayerRange groups[] = {{0, 1}, {1, 3}, {3, 4}, {4, 6}};
  for (const LayerRange& group : groups) {
    EXPECT_TRUE(harness_.heard(2).tokens.empty()) << "a token before the last group";
    harness_.step();
    EXPECT_EQ(harness_.decode().size(), 1u);
    EXPECT_EQ(harness_.decode()[0].id, early);
    EXPECT_EQ(harness_.prefill(), (Segments{{2, 0, 800}, {3, 0, 700}}));
    EXPECT_EQ(harness_.prefill_layers(), group);
  }
  EXPECT_EQ(harness_.heard(2).tokens.size(), 1u);
  EXPECT_EQ(harness_.heard(3).tokens.size(), 1u);
}

TEST_F(LayeredPrefill, LetsOneCohortInAtATime) {
  harness_.add(request(600, 5, 1));
  harness_.step();
  harness_.add(request(600, 5, 2));
  harness_.step();
  EXPECT_EQ(harness_.prefill(), (Segments{{1, 0, 600}}));
  EXPECT_EQ(harness_.stats().waiting, 1);
  harness_.step();
  EXPECT_EQ(harness_.prefill(), (Segments{{2, 0, 600}}));
}

TEST_F(LayeredPrefill, CutsOnlyPromptsTooLongForAnyCohort) {
  harness_.add(request(2000, 1, 1));
  harness_.add(request(1500, 1, 2));
  harness_.add(request(7000, 1, 3));
  harness_.add(request(100, 1, 4));
  std::vector<Segments> cohorts;
  while (harness_.step()) {
    if (harness_.prefill_layers().begin == 0) cohorts.push_back(harness_.prefill());
  }
  EXPECT_EQ(cohorts, (std::vector<Segments>{{{1, 0, 2000}},
                                            {{2, 0, 1500}},
                                            {{3, 0, 3000}},
                                            {{3, 3000, 3000}},
                                            {{3, 6000, 1000}, {4, 0, 100}}}));
  EXPECT_EQ(harness_.heard(3).tokens, harness_.expected(3));
}

TEST_F(LayeredPrefill, BeginsAgainWhenAMemberLeaves) {
  harness_.add(request(800, 3, 1));
  harness_.add(request(700, 3, 2));
  harness_.step();
  harness_.step();
  harness_.cancel(1);
  EXPECT_EQ(harness_.heard(1).reason, FinishReason::kCancelled);
  harness_.step();
  EXPECT_EQ(harness_.executor().stashes_dropped(), 2);
  EXPECT_EQ(harness_.prefill(), (Segments{{2, 0, 700}}));
  EXPECT_EQ(harness_.prefill_layers(), (LayerRange{0, 3}));
  harness_.finish();
  EXPECT_EQ(harness_.heard(2).tokens, harness_.expected(2));
}

TEST_F(LayeredPrefill, FailsItsCohortTogether) {
  harness_.add(request(800, 3, 1));
  harness_.add(request(700, 3, 2));
  harness_.step();
  harness_.executor().next_error = Error{.message = "a kernel failed"};
  harness_.add(request(9, 3, 3));
  harness_.step();
  EXPECT_EQ(harness_.heard(1).error->message, "a kernel failed");
  EXPECT_EQ(harness_.heard(2).reason, FinishReason::kError);
  EXPECT_EQ(harness_.executor().stashes_dropped(), 2);
  harness_.finish();
  EXPECT_EQ(harness_.heard(3).tokens, harness_.expected(3));
}

TEST(PrefixCache, ComputesOnlyWhatIsNew) {
  SchedulerHarness harness(kRoomy, {});
  harness.add(request(10, 8, 1));
  harness.finish();  // 10 prompt tokens and 7 generated: blocks up to 16
  EngineRequest longer = request(10, 3, 1);
  for (const TokenId token : harness.heard(1).tokens) longer.prompt.push_back(token);
  longer.prompt.push_back(4);
  harness.add(longer);
  harness.step();
  EXPECT_EQ(harness.prefill(), (Segments{{2, 16, 3}}));
  harness.finish();
  EXPECT_EQ(harness.heard(2).tokens, harness.expected(2));
  EXPECT_EQ(harness.heard(2).usage.cached_tokens, 16);
}

TEST(PrefixCache, RecomputesTheLastBlockOfAKnownPrompt) {
  SchedulerHarness harness(kRoomy, {});
  harness.add(request(12, 3, 1));
  harness.finish();
  harness.add(request(12, 3, 1));
  harness.step();
  EXPECT_EQ(harness.prefill(), (Segments{{2, 8, 4}}));
  harness.finish();
  EXPECT_EQ(harness.heard(2).tokens, harness.heard(1).tokens);
}

TEST(PrefixCache, LetsEqualPromptsWaitForTheFirst) {
  SchedulerHarness harness(kRoomy, {.chunk_tokens = 20});
  for (int i = 0; i < 3; ++i) harness.add(request(17, 3, 1));
  harness.step();
  EXPECT_EQ(harness.prefill(), (Segments{{1, 0, 17}}))
      << "though the chunk has room for three more";
  harness.step();
  EXPECT_EQ(harness.prefill(), (Segments{{2, 16, 1}, {3, 16, 1}}));
  harness.finish();
  EXPECT_EQ(harness.heard(3).tokens, harness.expected(3));
}

TEST(PrefixCache, ForgetsTheEndOfAChainFirst) {
  ExecutorLimits limits = kRoomy;
  limits.num_pages = 4;
  SchedulerHarness harness(limits, {});
  harness.add(request(13, 1, 1));
  harness.finish();  // three blocks stay, one page is empty
  harness.add(request(8, 1, 2));
  harness.finish();
  harness.add(request(13, 1, 1));
  harness.step();
  EXPECT_EQ(harness.prefill(), (Segments{{3, 8, 5}}));
}

TEST(PrefixCache, CanBeSwitchedOff) {
  SchedulerHarness harness(kRoomy, {.has_prefix_cache = false});
  for (int i = 0; i < 2; ++i) harness.add(request(16, 3, 1));
  harness.step();
  EXPECT_EQ(harness.prefill(), (Segments{{1, 0, 16}, {2, 0, 16}}));
  harness.finish();
  EXPECT_EQ(harness.stats().cached_tokens, 0u);
}

TEST(Memory, PreemptsTheLastAndSendsNothingTwice) {
  ExecutorLimits limits = kRoomy;
  limits.num_pages = 5;
  SchedulerHarness harness(limits, {.watermark = 0.0});
  harness.add(request(8, 9, 1));
  harness.add(request(8, 9, 2));
  harness.finish();
  EXPECT_EQ(harness.heard(1).usage.preemptions, 0);
  EXPECT_GT(harness.heard(2).usage.preemptions, 0);
  for (const RequestId id : {1, 2}) {
    EXPECT_EQ(harness.heard(id).tokens, harness.expected(id));
    EXPECT_EQ(harness.heard(id).usage.completion_tokens, 9);
  }
}

TEST(Memory, KeepsTheWatermarkFreeForThoseWhoGrow) {
  ExecutorLimits limits = kRoomy;
  limits.num_pages = 10;
  SchedulerHarness harness(limits, {.watermark = 0.2});
  harness.add(request(40, 1, 1));  // alone, it may take all
  harness.step();
  EXPECT_EQ(harness.prefill(), (Segments{{1, 0, 40}}));
  harness.add(request(16, 5, 2));
  harness.add(request(20, 1, 3));
  harness.step();
  EXPECT_EQ(harness.prefill(), (Segments{{2, 0, 16}})) << "one page would be left, not two";
  EXPECT_EQ(harness.stats().waiting, 1);
  harness.finish();
  EXPECT_EQ(harness.stats().finished, 3u);
}

TEST(Order, IsPriorityThenArrival) {
  ExecutorLimits limits = kRoomy;
  limits.max_decode_rows = 1;
  SchedulerHarness harness(limits, {});
  for (const int priority : {1, 0, 1, 0}) {
    EngineRequest next = request(4, 1, 1);
    next.priority = priority;
    harness.add(next);
  }
  std::vector<RequestId> order;
  while (harness.step()) order.push_back(harness.prefill().at(0).id);
  EXPECT_EQ(order, (std::vector<RequestId>{2, 4, 1, 3}));
}

TEST(Failure, EndsThoseInTheStepAlone) {
  SchedulerHarness harness(kRoomy, {.chunk_tokens = 8});
  harness.add(request(8, 9, 1));
  harness.add(request(20, 9, 2));
  harness.add(request(8, 9, 3));
  harness.step();
  harness.executor().next_error = Error{.message = "a kernel failed"};
  harness.step();
  EXPECT_EQ(harness.heard(1).reason, FinishReason::kError);
  EXPECT_EQ(harness.heard(1).tokens.size(), 1u);
  EXPECT_EQ(harness.heard(2).error->message, "a kernel failed");
  EXPECT_FALSE(harness.heard(3).reason);
  harness.finish();
  EXPECT_EQ(harness.heard(3).tokens, harness.expected(3));
  EXPECT_EQ(harness.stats().failed, 2u);
}

// What a failed request computed in steps that went well may be what made it fail.
TEST(Failure, LeavesNothingInThePrefixCache) {
  SchedulerHarness harness(kRoomy, {.chunk_tokens = 8});
  harness.add(request(20, 2, 1));
  harness.step();
  harness.step();
  harness.executor().next_error = Error{.message = "a kernel failed"};
  harness.step();
  EXPECT_EQ(harness.heard(1).reason, FinishReason::kError);
  harness.add(request(20, 2, 1));
  harness.finish();
  EXPECT_EQ(harness.heard(2).usage.cached_tokens, 0);
  EXPECT_EQ(harness.heard(2).tokens, harness.expected(2));
}

TEST(Cancelling, ReachesWaitingAndRunningAndNobodyElse) {
  SchedulerHarness harness(kRoomy, {.max_decode_rows = 1});
  harness.add(request(8, 9, 1));
  harness.add(request(8, 9, 2));
  harness.step();
  harness.cancel(1);
  harness.cancel(2);
  harness.cancel(2);
  harness.cancel(77);
  EXPECT_EQ(harness.heard(1).reason, FinishReason::kCancelled);
  EXPECT_EQ(harness.heard(1).usage.completion_tokens, 1);
  EXPECT_EQ(harness.heard(2).reason, FinishReason::kCancelled);
  EXPECT_EQ(harness.stats().cancelled, 2u);
  EXPECT_FALSE(harness.step());
}

TEST(Results, OfAnotherShapeAreOurOwnFault) {
  Scheduler scheduler(kRoomy, {});
  auto made = Sequence::make({.prompt = {1}, .listener = std::make_shared<RecordingListener>()},
                             kRoomy, {});
  scheduler.add(*std::move(made));
  ASSERT_NE(scheduler.plan(), nullptr);
  EXPECT_THROW(scheduler.complete({}), std::logic_error);
  EXPECT_THROW(scheduler.complete({.tokens = {{.token = 50}}}), std::logic_error);
}

}  // namespace
}  // namespace fib
