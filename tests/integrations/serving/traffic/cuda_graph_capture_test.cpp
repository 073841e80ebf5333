// Captures of graphs on a card. Skips without one.

#include "tests/integrations/serving/traffic/graph_capture.h"
#include "tests/scratch_folder.h"

namespace fib {
namespace {

TEST(CudaGraphCapture, ShowsWhatKernelByKernelShows) {
  constexpr int kSequences = 2, kSteps = 12;
  const ScratchFolder folder;
  Captured captured[2];
  for (const GraphUse graphs : {GraphUse::kNever, GraphUse::kWhereAble}) {
    auto model = open_tiny_model("cuda", {.graphs = graphs});
    if (!model && model.error().code == ErrorCode::kEnvironment) {
      GTEST_SKIP() << model.error().to_string();
    }
    ASSERT_TRUE(model) << model.error().to_string();
    const bool has_graphs = graphs == GraphUse::kWhereAble;
    captured[has_graphs] =
        expect_captured(*model, folder / (has_graphs ? "graphs" : "kernels"), kSequences, kSteps);
  }
  EXPECT_EQ(captured[1].rows, captured[0].rows);
  EXPECT_EQ(captured[1].decode.size(), static_cast<size_t>(kSteps));
}

}  // namespace
}  // namespace fib
