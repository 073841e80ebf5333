// Captures of graphs, on a card made of host memory. Needs libnvrtc, because the model's kernels
// are compiled for real; skips without it.

#include "tests/integrations/serving/traffic/graph_capture.h"

#include "integrations/package/cuda_device.h"
#include "tests/integrations/package/fake_card.h"
#include "tests/scratch_folder.h"

namespace fib {
namespace {

class GraphCapture : public testing::Test {
 protected:
  void SetUp() override {
    if (auto library = find_cuda_library({}, CudaLibrary::kNvrtc); !library) {
      GTEST_SKIP() << library.error().to_string();
    }
  }
  Captured captured(GraphUse graphs, int sequences, int decode_steps) {
    FakeCard card;
    ServedModelUnderTest model;
    model.device = std::make_unique<CudaDevice>(DeviceContext::open(card.driver(), 0).value());
    model.dispatch = open_house_dispatch(*model.device, house_options()).value();
    auto executor = load_model(*model.dispatch, {.folder = kTinyModel},
                               {.kv_bytes = size_t{64} << 20, .graphs = graphs}, {});
    EXPECT_TRUE(executor) << executor.error().to_string();
    if (!executor) return {};
    model.executor = *std::move(executor);
    Captured captured =
        expect_captured(model, folder_ / std::to_string(runs_++), sequences, decode_steps);
    EXPECT_EQ(card.graph_launches, graphs == GraphUse::kWhereAble ? decode_steps - 1 : 0)
        << "the first step of a size runs as it is";
    return captured;
  }

  ScratchFolder folder_;
  int runs_ = 0;
};

TEST_F(GraphCapture, ShowsWhatKernelByKernelShows) {
  const Captured by_kernel = captured(GraphUse::kNever, 2, 12);
  const Captured by_graph = captured(GraphUse::kWhereAble, 2, 12);
  EXPECT_EQ(by_graph.rows, by_kernel.rows);
  EXPECT_EQ(by_kernel.decode.size(), 12u) << "layers see the same, so they are one row";
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
