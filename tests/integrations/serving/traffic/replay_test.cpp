// Replays against an engine that answers at once, and what is made of their times.

#include "integrations/serving/traffic/replay.h"

#include <gtest/gtest.h>

#include <atomic>

#include "tests/integrations/serving/http/fake_engine.h"

namespace fib {
namespace {

using testing::FakeEngine;

Traffic traffic_of(size_t requests, size_t warm_up, uint64_t seed = 1) {
  RequestTrace trace{.has_arrivals = true, .requests = {}};
  for (size_t i = 0; i < requests; ++i) {
    trace.requests.push_back({.input_tokens = static_cast<int64_t>(10 + i), .output_tokens = 5});
  }
  return Traffic::plan(trace,
                       {.num_warm_up = warm_up, .max_tokens = 1000, .vocab_size = 50, .seed = seed})
      .value();
}

TEST(Replay, CountsWhatComesAfterTheWarmUp) {
  FakeEngine engine;
  EngineSink sink(engine);
  const Traffic traffic = traffic_of(10, 4);
  std::atomic<int> asked = 0;
  const ReplayReport report =
      replay(traffic, sink, {.counters = [&] {
               ++asked;
               return EngineCounters{.stats = {.steps = asked.load() * 10u}};
             }});
  EXPECT_EQ(report.warm_up, 4u);
  EXPECT_EQ(report.finished, 6u);
  EXPECT_EQ(report.failed, 0u);
  EXPECT_EQ(report.unfinished, 0u);
  EXPECT_EQ(report.output_tokens, 30u);
  EXPECT_EQ(report.input_tokens, 14u + 15 + 16 + 17 + 18 + 19);
  EXPECT_EQ(report.ttft_s.count, 6u);
  EXPECT_EQ(report.tbt_s.count, 24u);
  EXPECT_GE(report.end_to_end_s.mean, report.ttft_s.mean);
  EXPECT_EQ(asked, 2);
  ASSERT_TRUE(report.engine);
  EXPECT_EQ(report.engine->stats.steps, 10u) << "a difference, not the whole";
  EXPECT_EQ(engine.submitted().size(), 10u);
}

TEST(Replay, FailuresAreCountedWithTheirWords) {
  const Traffic traffic = traffic_of(3, 0);
  testing::FakeEngineOptions options;
  options.poison = traffic.request(0).prompt[0];
  options.surplus = traffic.request(1).prompt[0];
  ASSERT_NE(*options.poison, *options.surplus);
  ASSERT_NE(*options.poison, traffic.request(2).prompt[0]);
  ASSERT_NE(*options.surplus, traffic.request(2).prompt[0]);
  FakeEngine engine(options);
  EngineSink sink(engine);
  const ReplayReport report = replay(traffic, sink, {});
  EXPECT_EQ(report.finished, 1u);
  EXPECT_EQ(report.failed, 2u);
  EXPECT_EQ(report.errors.size(), 2u);
  EXPECT_FALSE(report.engine);
}

TEST(Replay, EndsWhenInterrupted) {
  FakeEngine engine;
  engine.pause();
  EngineSink sink(engine);
  const Traffic traffic = traffic_of(5, 0);
  std::atomic<int> asked = 0;
  const ReplayReport report =
      replay(traffic, sink, {.is_interrupted = [&] { return ++asked > 8; }});
  EXPECT_EQ(report.finished, 0u);
  EXPECT_EQ(report.unfinished, 5u);
  engine.resume();  // what is left ends without anybody there, which must do no harm
}

MeasuredRequest measured(double ttft_s, std::vector<double> gaps_s) {
  return {.input_tokens = 100,
          .output_tokens = static_cast<int>(gaps_s.size()) + 1,
          .cached_tokens = 50,
          .ttft_s = ttft_s,
          .end_to_end_s = ttft_s + 1,
          .queue_s = 0.5,
          .gaps_s = std::move(gaps_s)};
}

TEST(ReplayReport, PercentilesAreSamples) {
  std::vector<double> samples;
  for (int i = 200; i >= 1; --i) samples.push_back(i);
  const Summary summary = summarise(samples);
  EXPECT_EQ(summary.count, 200u);
  EXPECT_EQ(summary.mean, 100.5);
  EXPECT_EQ(summary.p50, 100.0);
  EXPECT_EQ(summary.p99, 198.0);
  EXPECT_EQ(summary.max, 200.0);
  EXPECT_EQ(summarise({3.0}).p99, 3.0);
  EXPECT_EQ(summarise({}).count, 0u);
}

TEST(ReplayReport, GoodRequestsKeepBothLevels) {
  std::vector<double> one_stall(200, 0.01);
  one_stall.back() = 5.0;
  std::vector<MeasuredRequest> requests = {measured(0.9, {0.05, 0.1}), measured(1.1, {0.05}),
                                           measured(0.5, {0.2}), measured(0.5, {}),
                                           measured(0.5, one_stall)};
  requests.push_back({.error = "gone"});
  const ReplayReport report = make_report(requests, {.ttft_s = 1.0, .tbt_s = 0.1}, 2.0);
  EXPECT_EQ(report.good, 3u) << "of 200 gaps one may be long";
  EXPECT_EQ(report.goodput_per_s(), 1.5);
  EXPECT_EQ(report.finished, 5u);
  EXPECT_EQ(report.requests_per_s(), 2.5);
  EXPECT_EQ(report.errors.at("gone"), 1u);
  EXPECT_EQ(report.cached_share(), 0.5);
  EXPECT_EQ(report.queue_s->p50, 0.5);
}

TEST(ReplayReport, JsonAndText) {
  ReplayReport report = make_report({measured(0.9, {0.05, 0.1})}, {}, 2.0);
  report.engine = EngineCounters{.stats = {.steps = 4},
                                 .experts = {.calls = 2, .least_bytes = 1e9, .most_bytes = 3e9}};
  const Json json = report_to_json(report);
  EXPECT_EQ(json["ttft_s"]["p99"], 0.9);
  EXPECT_EQ(json["output_tokens_per_s"], 1.5);
  EXPECT_EQ(json["goodput"]["requests"], 1);
  EXPECT_EQ(json["engine"]["experts"]["least_bytes"], 1e9);
  EXPECT_FALSE(json["engine"]["experts"].contains("bytes"));
  EXPECT_NE(report_to_text(report).find("1.000 to 3.000 GB"), std::string::npos);
  report.engine->experts.least_bytes = 3e9;
  EXPECT_EQ(report_to_json(report)["engine"]["experts"]["bytes"], 3e9);

  const ReplayReport nothing = make_report({}, {}, 0.0);
  EXPECT_EQ(report_to_json(nothing)["requests_per_s"], 0.0);
  EXPECT_EQ(report_to_json(nothing)["queue_s"], Json());
}

TEST(ReplayReport, PlotsWhatThereIs) {
  std::vector<double> gaps;
  for (int i = 1; i <= 5000; ++i) gaps.push_back(i * 1e-5);
  const std::string svg = plot_report(make_report({measured(0.3, gaps)}, {}, 1.0), "a <b> & c");
  EXPECT_TRUE(svg.starts_with("<svg"));
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  EXPECT_NE(svg.find("a &lt;b&gt; &amp; c"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_LT(svg.size(), 30000u) << "a curve has a bounded number of points";
  size_t curves = 0;
  for (size_t at = 0; (at = svg.find("<polyline", at)) != svg.npos; ++at) ++curves;
  EXPECT_EQ(curves, 2u);
  EXPECT_EQ(plot_report(make_report({}, {}, 0.0), "").find("<polyline"), std::string::npos);
  EXPECT_EQ(plot_report(make_report({measured(0.0, {0.0})}, {}, 0.0), "").find("inf"),
            std::string::npos);
}

}  // namespace
}  // namespace fib
