// The bundled model under a piece of traffic: what it serves is counted and becomes workloads.

#include <gtest/gtest.h>

#include <cmath>

#include "integrations/serving/traffic/capture.h"
#include "integrations/serving/traffic/replay.h"
#include "signatures/catalog.h"
#include "tests/integrations/serving/model/served_model.h"
#include "tests/scratch_folder.h"
#include "workloads/inputs.h"
#include "workloads/workload_set.h"

namespace fib {
namespace {

constexpr int kLayers = 8, kExpertsPerToken = 4;
// INT4 weights and their scales: gate and up [256, 256], down [256, 128].
constexpr double kExpertBytes = 256 * 256 / 2 + 256 * 8 * 2 + 256 * 128 / 2 + 256 * 4 * 2;

TEST(TinyModelTraffic, IsReplayedCountedAndCaptured) {
  auto model = open_tiny_model("cpu");
  ASSERT_TRUE(model) << model.error().to_string();
  const ScratchFolder folder;
  RequestTrace trace{.has_arrivals = true, .requests = {}};
  for (int i = 0; i < 4; ++i) {
    trace.requests.push_back({.input_tokens = 600,
                              .output_tokens = 6,
                              .prefix_blocks = {1, 2u + static_cast<unsigned>(i)}});
  }
  const auto traffic = Traffic::plan(
      trace, {.max_tokens = 4096, .vocab_size = model->executor->limits().vocab_size});
  ASSERT_TRUE(traffic) << traffic.error().to_string();

  ExpertBytes experts(*model->dispatch);
  const auto capture = Capture::start(*model->dispatch, {.folder = folder / "captured"});
  ASSERT_TRUE(capture) << capture.error().to_string();
  {
    const auto engine = Engine::start(*model->executor, {});
    ASSERT_TRUE(engine) << engine.error().to_string();
    EngineSink sink(**engine);
    const ReplayReport report = replay(*traffic, sink, {.counters = [&] {
      return EngineCounters{(*engine)->stats(), experts.read()};
    }});
    EXPECT_EQ(report.finished, 4u) << report_to_text(report);
    EXPECT_EQ(report.output_tokens, 24u);
    EXPECT_TRUE(report.queue_s);
    const ExpertTraffic& read = report.engine->experts;
    EXPECT_TRUE(read.is_exact());
    EXPECT_EQ(read.calls % kLayers, 0u);
    EXPECT_EQ(std::fmod(read.least_bytes, kExpertBytes), 0.0);
    const auto calls = static_cast<double>(read.calls);
    EXPECT_GE(read.least_bytes, calls * kExpertsPerToken * kExpertBytes);
    EXPECT_LE(read.least_bytes, calls * 32 * kExpertBytes);
  }

  const auto summary = (*capture)->write();
  ASSERT_TRUE(summary) << summary.error().to_string();
  EXPECT_GE(summary->signatures.size(), 10u);
  const auto catalog = Catalog::builtin(house_options().definitions);
  ASSERT_TRUE(catalog) << catalog.error().to_string();
  const auto sets = read_workloads(folder / "captured");
  ASSERT_TRUE(sets) << sets.error().to_string();
  EXPECT_EQ(sets->size(), summary->signatures.size());
  for (const WorkloadSet& set : *sets) {
    const auto signature = catalog->find(set.signature);
    ASSERT_TRUE(signature) << signature.error().to_string();
    for (const Workload& workload : set.workloads) {
      const auto problem = bind(*signature, workload);
      ASSERT_TRUE(problem) << problem.error().to_string();
      const auto plan = plan_inputs(*problem);
      ASSERT_TRUE(plan) << plan.error().to_string();
      EXPECT_TRUE(plan->notes.empty()) << set.signature << ": " << plan->notes.front();
    }
  }
}

}  // namespace
}  // namespace fib
