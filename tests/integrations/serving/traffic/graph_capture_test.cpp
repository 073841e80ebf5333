// Captures of graphs, on a card made of host memory. Needs libnvrtc, because the model's kernels
// are compiled for real; skips without it.

#include "tests/integrations/serving/traffic/graph_capture.h"

#include "integrations/package/cuda_device.h"
#include "integrations/serving/traffic/expert_bytes.h"
#include "tests/integrations/package/fake_card.h"
#include "tests/scratch_folder.h"

namespace fib {
namespace {

// In place of the routers, which don't run: each call chooses experts of its own.
class PlantedRoutes final : public CallTap {
 public:
  explicit PlantedRoutes(Dispatch& dispatch) : dispatch_(dispatch) { dispatch_.add_tap(*this); }
  ~PlantedRoutes() override { dispatch_.remove_tap(*this); }
  void on_call(const Kernel& kernel, const KernelCall& call, double) override {
    if (!kernel.signature().name.starts_with("moe_routing")) return;
    const Operand& ids = call.outputs[1];  // int32 [tokens, 4]
    const int32_t first = static_cast<int32_t>(planted.size()) % kExperts;
    for (int64_t i = 0; i < ids.shape[0] * ids.shape[1]; ++i) {
      reinterpret_cast<int32_t*>(ids.data)[i] =
          (first + static_cast<int32_t>(i % ids.shape[1])) % kExperts;
    }
    planted.push_back(first);
  }
  static constexpr int32_t kExperts = 32;
  std::vector<int32_t> planted;  // the first expert of each call

 private:
  Dispatch& dispatch_;
};

// What calls of experts show.
class SeenRoutes final : public CallTap {
 public:
  explicit SeenRoutes(Dispatch& dispatch) : dispatch_(dispatch) { dispatch_.add_tap(*this); }
  ~SeenRoutes() override { dispatch_.remove_tap(*this); }
  void on_call(const Kernel& kernel, const KernelCall& call, double) override {
    if (!kernel.signature().name.starts_with("moe_int4")) return;
    const auto* const ids = static_cast<const int32_t*>(call.inputs[1].host);
    ASSERT_NE(ids, nullptr);
    first.push_back(ids[0]);
    last.push_back(ids[call.inputs[1].shape[0] * call.inputs[1].shape[1] - 1]);
  }
  bool wants_computed() const override { return true; }
  std::vector<int32_t> first, last;  // of each call

 private:
  Dispatch& dispatch_;
};

class GraphCapture : public testing::Test {
 protected:
  void SetUp() override {
    if (auto library = find_cuda_library({}, CudaLibrary::kNvrtc); !library) {
      GTEST_SKIP() << library.error().to_string();
    }
    model_.device = std::make_unique<CudaDevice>(DeviceContext::open(card_.driver(), 0).value());
    model_.dispatch = open_house_dispatch(*model_.device, house_options()).value();
  }
  void load(ExecutorOptions options) {
    options.kv_bytes = size_t{64} << 20;
    model_.executor.reset();
    auto executor = load_model(*model_.dispatch, {.folder = kTinyModel}, options, {});
    ASSERT_TRUE(executor) << executor.error().to_string();
    model_.executor = *std::move(executor);
    card_.graph_launches = 0;
  }
  Captured captured(GraphUse graphs, int sequences, int decode_steps) {
    load({.graphs = graphs});
    if (!model_.executor) return {};
    const PlantedRoutes routes(*model_.dispatch);
    Captured captured =
        expect_captured(model_, folder_ / std::to_string(runs_++), sequences, decode_steps);
    EXPECT_EQ(card_.graph_launches, graphs == GraphUse::kWhereAble ? decode_steps - 1 : 0)
        << "the first step of a size runs as it is";
    return captured;
  }

  ScratchFolder folder_;
  FakeCard card_;
  ServedModelUnderTest model_;
  int runs_ = 0;
};

TEST_F(GraphCapture, ShowsWhatKernelByKernelShows) {
  const Captured by_kernel = captured(GraphUse::kNever, 2, 12);
  const Captured by_graph = captured(GraphUse::kWhereAble, 2, 12);
  EXPECT_EQ(by_graph.rows, by_kernel.rows);
  EXPECT_EQ(by_kernel.decode.size(), 12u) << "layers see the same, so they are one row";
}

// Each layer's experts are those that its own router chose, of this step, with graphs and without.
TEST_F(GraphCapture, SeesTheExpertsOfEachLayer) {
  constexpr int kLayers = 8, kSequences = 3, kSteps = 4;
  for (const GraphUse graphs : {GraphUse::kNever, GraphUse::kWhereAble}) {
    load({.graphs = graphs});
    ASSERT_TRUE(model_.executor);
    const PlantedRoutes routes(*model_.dispatch);
    const SeenRoutes seen(*model_.dispatch);
    const ExpertBytes bytes(*model_.dispatch);
    ASSERT_TRUE(serve_together(*model_.executor, kSequences, kSteps));
    EXPECT_EQ(seen.first.size(), static_cast<size_t>(kLayers * (1 + kSteps)));
    EXPECT_EQ(seen.first, routes.planted);
    for (size_t i = 0; i < seen.last.size(); ++i) {
      EXPECT_EQ(seen.last[i], (routes.planted[i] + 3) % PlantedRoutes::kExperts);
    }
    const ExpertTraffic traffic = bytes.read();
    EXPECT_TRUE(traffic.is_exact());
    EXPECT_EQ(traffic.calls, seen.first.size());
    // Prompts of 10, 37 and 64 tokens, and no padding.
    EXPECT_EQ(traffic.tokens, static_cast<uint64_t>(kLayers * (111 + kSequences * kSteps)));
    constexpr double kExpertBytes = 256 * 256 / 2 + 256 * 8 * 2 + 256 * 128 / 2 + 256 * 4 * 2;
    EXPECT_EQ(traffic.least_bytes, static_cast<double>(traffic.calls) * 4 * kExpertBytes);
  }
}

// Nobody asks: nothing is copied from the card but the tokens.
TEST_F(GraphCapture, CopiesExpertsForThoseWhoAskAlone) {
  load({});
  ASSERT_TRUE(model_.executor);
  ASSERT_TRUE(serve_together(*model_.executor, 2, 3));
  EXPECT_EQ(card_.downloads, 4) << "the tokens of each step";
  const ExpertBytes bytes(*model_.dispatch);
  card_.downloads = 0;
  ASSERT_TRUE(serve_together(*model_.executor, 2, 3));
  EXPECT_EQ(card_.downloads, 8) << "and all layers' experts at once";
}

// The fake card's kernels take a millisecond each, so that shares go by launches.
TEST_F(GraphCapture, SharesAreThoseOfSampledSteps) {
  load({.profile_every = 3});
  ASSERT_TRUE(model_.executor);
  const auto capture = Capture::start(*model_.dispatch, {.folder = folder_ / "shares"}).value();
  ASSERT_TRUE(serve_together(*model_.executor, 2, 12));
  const auto summary = capture->write();
  ASSERT_TRUE(summary) << summary.error().to_string();
  double sum = 0.0;
  for (const CapturedSignature& signature : summary->signatures) {
    SCOPED_TRACE(signature.name);
    sum += signature.time_share;
    const bool is_prefill = signature.name.starts_with("gqa_paged_prefill");
    EXPECT_EQ(signature.sampled_calls == 0, is_prefill) << "the first step is none of the third";
    EXPECT_EQ(signature.time_share > 0.0, !is_prefill);
  }
  EXPECT_NEAR(sum, 1.0, 1e-9);
}

TEST_F(GraphCapture, TellsTheHostsPartOfAStep) {
  load({});
  ASSERT_TRUE(model_.executor);
  const std::vector<TokenId> tokens = {5};
  const std::vector<int32_t> pages = {40};
  Step step;
  step.decode = {{.tokens = tokens, .pages = pages, .wants_token = true}};
  step.choices = {{.temperature = 0.0f}};
  const auto result = model_.executor->run(step);
  ASSERT_TRUE(result) << result.error().to_string();
  ASSERT_TRUE(result->host_ns);
  EXPECT_GT(*result->host_ns, 0.0);
}

TEST_F(GraphCapture, HasThePaddingThatKernelsSee) {
  const Captured padded = captured(GraphUse::kWhereAble, 3, 4);
  ASSERT_EQ(padded.decode.size(), 4u);
  for (const Workload& row : padded.decode) {
    EXPECT_EQ(row.axis("batch_size"), 4) << "of 3 sequences";
    // 10, 37 and 64 tokens, then 1 to 4 more, 16 a page.
    EXPECT_EQ(row.axis("num_kv_indices"), 1 + 3 + 5);
    EXPECT_EQ(row.weight, 8.0) << "a call a layer";
  }
}

}  // namespace
}  // namespace fib
