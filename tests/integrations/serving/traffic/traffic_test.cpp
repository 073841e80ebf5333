// What a trace becomes.

#include "integrations/serving/traffic/traffic.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace fib {
namespace {

// Two prompts that share their first block, and a third of another kind.
RequestTrace small_trace() {
  return {.has_arrivals = true,
          .requests = {{0.0, 1000, 10, {7, 8}}, {2.0, 1500, 20, {7, 9, 10}}, {3.0, 600, 0, {}}}};
}

TrafficOptions options() { return {.max_tokens = 4096, .vocab_size = 1000}; }

Traffic plan(const RequestTrace& trace, const TrafficOptions& options) {
  auto traffic = Traffic::plan(trace, options);
  if (!traffic) throw std::runtime_error(traffic.error().to_string());
  return *std::move(traffic);
}

size_t shared_prefix(const std::vector<TokenId>& a, const std::vector<TokenId>& b) {
  const size_t size = std::min(a.size(), b.size());
  return static_cast<size_t>(
      std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(size), b.begin()).first -
      a.begin());
}

TEST(Traffic, KeepsLengthsArrivalsAndSharedPrefixes) {
  const Traffic traffic = plan(small_trace(), options());
  ASSERT_EQ(traffic.size(), 3u);
  EXPECT_EQ(traffic.arrival_s(1), 2.0);
  EXPECT_EQ(traffic.num_cut(), 0u);
  const EngineRequest first = traffic.request(0), second = traffic.request(1);
  EXPECT_EQ(first.prompt.size(), 1000u);
  EXPECT_EQ(second.prompt.size(), 1500u);
  EXPECT_EQ(shared_prefix(first.prompt, second.prompt), 512u);
  EXPECT_LT(shared_prefix(first.prompt, traffic.request(2).prompt), 8u);
  EXPECT_EQ(first.sampling.max_tokens, 10);
  EXPECT_TRUE(first.sampling.ignore_eos);
  EXPECT_EQ(traffic.request(2).sampling.max_tokens, 1) << "an answer has a token at least";
  for (const TokenId token : second.prompt) {
    EXPECT_GE(token, 0);
    EXPECT_LT(token, 1000);
  }
  EXPECT_EQ(plan(small_trace(), options()).request(1).prompt, second.prompt);
  TrafficOptions other = options();
  other.seed = 2;
  EXPECT_NE(plan(small_trace(), other).request(1).prompt, second.prompt);
}

TEST(Traffic, ScalesLengthsAndPrefixesAlike) {
  TrafficOptions scaled = options();
  scaled.length_scale = 0.25;
  scaled.rate_scale = 4.0;
  const Traffic traffic = plan(small_trace(), scaled);
  EXPECT_EQ(traffic.input_tokens(0), 250);
  EXPECT_EQ(traffic.output_tokens(1), 5);
  EXPECT_EQ(traffic.arrival_s(1), 0.5);
  EXPECT_EQ(shared_prefix(traffic.request(0).prompt, traffic.request(1).prompt), 128u);

  // 333 tokens in blocks of 171 need two; where rounding asks for more than the trace has, the rest
  // is the request's own.
  scaled.length_scale = 1.0 / 3.0;
  EXPECT_EQ(plan(small_trace(), scaled).request(0).prompt.size(), 333u);
  scaled.length_scale = 0.001;
  EXPECT_EQ(plan(small_trace(), scaled).request(1).prompt.size(), 2u);
}

TEST(Traffic, CutsWhatTheModelCantTake) {
  TrafficOptions cut = options();
  cut.max_tokens = 1015;
  const Traffic traffic = plan(small_trace(), cut);
  EXPECT_EQ(traffic.num_cut(), 1u);
  EXPECT_EQ(traffic.input_tokens(0), 1000);
  EXPECT_EQ(traffic.input_tokens(1), 995);
  cut.max_tokens = 10;
  const Traffic tiny = plan(small_trace(), cut);
  EXPECT_EQ(tiny.input_tokens(1), 5);
  EXPECT_EQ(tiny.output_tokens(1), 5) << "an answer leaves half of the room to its prompt";
  EXPECT_EQ(tiny.request(1).prompt.size(), 5u);
}

TEST(Traffic, TakesPromptsFromACorpus) {
  TrafficOptions from_corpus = options();
  for (TokenId token = 100; token < 200; ++token) from_corpus.corpus.push_back(token);
  const Traffic traffic = plan(small_trace(), from_corpus);
  const std::vector<TokenId> prompt = traffic.request(2).prompt;
  ASSERT_EQ(prompt.size(), 600u);
  for (size_t i = 1; i < 512; ++i) {
    EXPECT_EQ((prompt[i] - 100) % 100, (prompt[i - 1] - 100 + 1) % 100) << i;
  }
}

TEST(Traffic, DrawsArrivalsAtARate) {
  RequestTrace lengths{.has_arrivals = false, .requests = {}};
  lengths.requests.resize(4000, {.input_tokens = 10, .output_tokens = 1});
  TrafficOptions at_rate = options();
  at_rate.poisson_rate = 5.0;
  const Traffic traffic = plan(lengths, at_rate);
  EXPECT_EQ(traffic.arrival_s(0), 0.0);
  for (size_t i = 1; i < traffic.size(); ++i) {
    EXPECT_GT(traffic.arrival_s(i), traffic.arrival_s(i - 1));
  }
  // 3999 gaps of 0.2 s on average; their sum's standard deviation is 12.6 s.
  EXPECT_NEAR(traffic.arrival_s(3999), 799.8, 50.0);
}

TEST(Traffic, TakesAPartOfTheTrace) {
  TrafficOptions part = options();
  part.first_request = 1;
  part.num_requests = 2;
  part.num_warm_up = 1;
  const Traffic traffic = plan(small_trace(), part);
  ASSERT_EQ(traffic.size(), 2u);
  EXPECT_EQ(traffic.arrival_s(0), 0.0);
  EXPECT_EQ(traffic.arrival_s(1), 1.0);
  EXPECT_EQ(traffic.input_tokens(0), 1500);
  EXPECT_TRUE(traffic.is_warm_up(0));
  EXPECT_FALSE(traffic.is_warm_up(1));
}

TEST(Traffic, RefusesBadOptions) {
  const auto error = [](auto change) {
    TrafficOptions changed = options();
    RequestTrace trace = small_trace();
    change(changed, trace);
    const auto traffic = Traffic::plan(trace, changed);
    return traffic ? "none" : traffic.error().where;
  };
  using O = TrafficOptions;
  using T = RequestTrace;
  EXPECT_EQ(error([](O& o, T&) { o.rate_scale = 0; }), "rate scale");
  EXPECT_EQ(error([](O& o, T&) { o.length_scale = -1; }), "length scale");
  EXPECT_EQ(error([](O& o, T&) { o.length_scale = 1.0 / 0.0; }), "length scale");
  EXPECT_EQ(error([](O& o, T&) { o.poisson_rate = 0.0; }), "rate");
  EXPECT_EQ(error([](O&, T& t) { t.has_arrivals = false; }), "rate");
  EXPECT_EQ(error([](O& o, T&) { o.first_request = 3; }), "first request");
  EXPECT_EQ(error([](O& o, T&) { o.num_warm_up = 3; }), "warm-up");
  EXPECT_EQ(error([](O& o, T&) { o.max_tokens = 1; }), "max tokens");
  EXPECT_EQ(error([](O& o, T&) { o.vocab_size = 0; }), "vocabulary");
}

}  // namespace
}  // namespace fib
