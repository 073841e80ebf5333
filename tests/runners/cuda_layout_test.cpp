// What of the cuda target needs neither a card nor its libraries.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "runners/cuda/cubin.h"
#include "runners/cuda/cuda_runner.h"
#include "runners/cuda/device_layout.h"
#include "runners/cuda/device_protocol.h"
#include "tests/runners/cuda_fixture.h"
#include "tests/scratch_folder.h"

namespace fib {
namespace {

using testing::HasSubstr;

TEST(CudaLayout, BuffersAreApartGuardedAlignedAndMove) {
  const std::vector<LayoutBuffer> buffers = {{"input 'a'", 1000}, {"output 'b'", 0},
                                             {"the workspace", 4096}};
  const uint64_t base = 0x7000000000, room = layout_bytes(buffers) + (1 << 20);
  LayoutRandom random(1);
  std::set<uint64_t> seen;
  for (int round = 0; round < 50; ++round) {
    const Layout layout = lay_out(buffers, base, room, 7, random);
    ASSERT_EQ(layout.guards.count, 6u);
    std::vector<std::pair<uint64_t, uint64_t>> regions;
    for (size_t i = 0; i < buffers.size(); ++i) {
      EXPECT_EQ(layout.addresses[i] % kBufferAlign, 0u);
      regions.emplace_back(layout.addresses[i], layout.addresses[i] + buffers[i].bytes);
      EXPECT_EQ(layout.guards.address[2 * i] + layout.guards.bytes[2 * i], layout.addresses[i]);
      EXPECT_EQ(layout.guards.address[2 * i + 1], layout.addresses[i] + buffers[i].bytes);
      for (size_t side = 0; side < 2; ++side) {
        const uint64_t at = layout.guards.address[2 * i + side];
        EXPECT_GE(layout.guards.bytes[2 * i + side], kGuardBytes);
        regions.emplace_back(at, at + layout.guards.bytes[2 * i + side]);
      }
    }
    std::sort(regions.begin(), regions.end());
    EXPECT_GE(regions.front().first, base);
    EXPECT_LE(regions.back().second, base + room);
    for (size_t i = 1; i < regions.size(); ++i) {
      EXPECT_LE(regions[i - 1].second, regions[i].first);
    }
    seen.insert(layout.addresses[0]);
  }
  EXPECT_GT(seen.size(), 40u);
}

TEST(CudaLayout, GuardsAreNamedBySide) {
  LayoutRandom random(1);
  const std::vector<LayoutBuffer> buffers = {{"input 'a'", 10}, {"output 'b'", 10}};
  const Layout layout = lay_out(buffers, 0, layout_bytes(buffers), 0, random);
  EXPECT_EQ(guard_place(layout, 1), "after input 'a'");
  EXPECT_EQ(guard_place(layout, 2), "before output 'b'");
}

TEST(CudaCubin, BytesThatCannotBeReadCountAsStateful) {
  EXPECT_TRUE(has_device_variables({}));
  const std::vector<std::byte> garbage(100, std::byte{0x7f});
  EXPECT_TRUE(has_device_variables(garbage));
}

TEST(CudaProtocol, MessagesSurviveTheTrip) {
  DeviceProblem problem;
  problem.inputs = {{.name = "x", .dtype = DType::kBFloat16, .elements = 6, .bytes = 12},
                    {.name = "ids", .dtype = DType::kInt32, .elements = 2, .bytes = 8}};
  problem.outputs = {{.name = "y", .dtype = DType::kFloat32, .elements = 1, .bytes = 4}};
  DeviceSource generated{.seed = ~0ull, .stream = 4};
  generated.rule.lowest = -std::numeric_limits<float>::infinity();
  problem.sets = {{generated, DeviceSource{.original = 0}}};
  problem.original_bytes = {8};
  problem.salt = 0x8000000000000001ull;
  const DeviceProblem back = device_problem_from_json(to_json(problem));
  EXPECT_EQ(back.inputs[1].name, "ids");
  EXPECT_EQ(back.sets[0][0].seed, ~0ull);
  EXPECT_EQ(back.sets[0][0].rule.lowest, generated.rule.lowest);
  EXPECT_EQ(back.sets[0][1].original, 0u);
  EXPECT_EQ(back.salt, problem.salt);

  BlockAnswer answer;
  answer.samples = {{.time_ns = 1234.5, .contender = 1, .value_set = 2, .round = 3}};
  answer.faults = {{1, {FaultKind::kOutOfBounds, "after output 'y'"}}};
  answer.kernels = {{{.name = "k", .share = 0.5, .grid = {1, 2, 3}, .block = {4, 5, 6}}}};
  const BlockAnswer again = block_answer_from_json(to_json(answer));
  EXPECT_EQ(again.samples[0].time_ns, 1234.5);
  EXPECT_EQ(again.faults[0].fault.kind, FaultKind::kOutOfBounds);
  EXPECT_EQ(again.kernels[0][0].grid[2], 3u);
}

TEST(CudaLibraries, TheFirstFolderWithTheFileIsTaken) {
  const ScratchFolder folder;
  std::filesystem::create_directories(folder / "lib64");
  ASSERT_TRUE(write_file_atomically(folder / "lib64/libnvrtc.so.13", ""));
  const auto found = find_cuda_library({.roots = {folder.path()}}, CudaLibrary::kNvrtc);
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_EQ(*found, folder / "lib64/libnvrtc.so.13");
}

TEST(CudaLibraries, ThrottleReasonsAreWords) {
  EXPECT_EQ(describe_throttle_reasons(0), "none");
  EXPECT_EQ(describe_throttle_reasons(0x5), "idle, software power cap");
}

TEST(CudaRunner, SaysWhatItLacksWithARemedy) {
  const ScratchFolder cache;
  const auto runner = make_cuda_runner(cuda_options(cache.path()));
  EXPECT_EQ(runner->target(), "cuda");
  const Support support = runner->available();
  if (support.ok) GTEST_SKIP() << "there is a card";
  EXPECT_FALSE(support.reason.empty());
  EXPECT_FALSE(support.remedy.empty());
  EXPECT_TRUE(runner->devices().empty());
  const auto session = runner->open_session(0);
  ASSERT_FALSE(session);
  EXPECT_FALSE(session.error().message.empty());
}

TEST(CudaRunner, RefusesSolutionsOfOtherTargetsAndSignatures) {
  const ScratchFolder cache;
  const auto runner = make_cuda_runner(cuda_options(cache.path()));
  const Catalog catalog = builtin_catalog();
  const SignaturePtr rmsnorm = *catalog.find("rmsnorm_h4096");
  EXPECT_TRUE(runner->supports(candidate({}), *rmsnorm).ok);
  const Support other = runner->supports(candidate({}), **catalog.find("gemm_n128_k2048"));
  EXPECT_FALSE(other.ok);
  EXPECT_THAT(other.reason, HasSubstr("rmsnorm_h4096"));
}

}  // namespace
}  // namespace fib
