// Guards, poison, hashes and the pool, without a worker.

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "runners/cpu/arena.h"
#include "runners/cpu/worker_pool.h"

namespace fib {
namespace {

using testing::HasSubstr;

class CellTest : public testing::Test {
 protected:
  CellTest() : memory_(4096 + Cell::bytes_for(buffers_)), cell_(memory_, 4096, buffers_) {
    cell_.place(pattern_, random_);
  }
  std::vector<BufferSpec> buffers_ = {{"input 'a'", 100}, {"output 'b'", 0}, {"output 'c'", 4097}};
  Random random_{7};
  GuardPattern pattern_{random_};
  std::vector<std::byte> memory_;
  Cell cell_;
};

TEST_F(CellTest, BuffersAreAlignedInsideAndMove) {
  std::vector<size_t> offsets;
  for (int i = 0; i < 50; ++i) {
    cell_.place(pattern_, random_);
    EXPECT_EQ(cell_.damage(pattern_), std::nullopt);
    for (size_t b = 0; b < buffers_.size(); ++b) {
      EXPECT_EQ(cell_.offset(b) % kBufferAlignment, 0u);
      EXPECT_GE(cell_.offset(b), 4096u + 256u);
      EXPECT_LE(cell_.offset(b) + buffers_[b].bytes + 256, memory_.size());
    }
    offsets.push_back(cell_.offset(0));
  }
  std::sort(offsets.begin(), offsets.end());
  EXPECT_GT(std::unique(offsets.begin(), offsets.end()) - offsets.begin(), 10);
}

TEST_F(CellTest, WritesInsideAreNoDamage) {
  for (size_t b = 0; b < buffers_.size(); ++b) {
    for (std::byte& byte : cell_.buffer(b)) byte = ~byte;
  }
  EXPECT_EQ(cell_.damage(pattern_), std::nullopt);
}

TEST_F(CellTest, OneByteBesideABufferIsNamed) {
  for (const size_t b : {0, 2}) {
    const auto buffer = cell_.buffer(b);
    for (const auto& [place, words] :
         {std::pair{buffer.data() + buffer.size(), "1 bytes past the end of "},
          std::pair{buffer.data() - 1, "1 bytes before the start of "},
          std::pair{buffer.data() + buffer.size() + 255, "256 bytes past the end of "}}) {
      *place ^= std::byte{1};
      EXPECT_THAT(cell_.damage(pattern_).value_or(""), HasSubstr(words + buffers_[b].name));
      *place ^= std::byte{1};
    }
  }
}

TEST(PoisonTest, IsPlausibleAndDiffersFromCallToCall) {
  Random random(3);
  const Poison poison(DType::kFloat32, random);
  std::vector<float> first(1000), second(1000);
  poison.fill(std::as_writable_bytes(std::span(first)), random);
  poison.fill(std::as_writable_bytes(std::span(second)), random);
  EXPECT_NE(first, second);
  for (const float value : first) EXPECT_LT(std::abs(value), 4.0f);
}

TEST(ContentHashTest, SeesEveryByteLengthAndSeed) {
  std::vector<std::byte> bytes(200);
  const uint64_t hash = content_hash(bytes, 1);
  for (std::byte& byte : bytes) {
    byte = std::byte{1};
    EXPECT_NE(content_hash(bytes, 1), hash);
    byte = std::byte{0};
  }
  EXPECT_NE(content_hash(std::span(bytes).first(199), 1), hash);
  EXPECT_NE(content_hash(bytes, 2), hash);
}

TEST(WorkerPoolTest, CoversEveryIndexOnce) {
  WorkerPool pool(3);
  EXPECT_EQ(pool.size(), 3);
  for (const int64_t count : {0, 1, 2, 5, 64, 1000}) {
    for (const int64_t grain : {-1, 0, 1, 7, 5000}) {
      std::vector<int> seen(static_cast<size_t>(count));
      const FibBody body = [](int64_t begin, int64_t end, void* context) {
        for (int64_t i = begin; i < end; ++i) ++static_cast<int*>(context)[i];
      };
      pool.run(count, grain, body, seen.data());
      pool.rouse();
      EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), count) << count << ' ' << grain;
    }
  }
}

TEST(WorkerPoolTest, ChunksAreNotSmallerThanTheGrain) {
  WorkerPool pool(2);
  const FibBody body = [](int64_t begin, int64_t end, void*) {
    EXPECT_TRUE(end - begin >= 10 || end == 95) << begin << ' ' << end;
  };
  pool.run(95, 10, body, nullptr);
}

}  // namespace
}  // namespace fib
