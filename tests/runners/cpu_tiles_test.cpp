// Products in tile registers: on a model of them everywhere, and on the registers themselves, which
// have to give the model's bits, where the processor has them.

#include <fib/cpu/gemm_tiles.h>
#include <fib/cpu/moe_tiles.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <random>
#include <span>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "runners/cpu/worker_pool.h"
#include "tests/runners/tile_model.h"

namespace fib {
namespace {

// Elements that end where the readable memory ends, so that one read too many is a fault.
class Fenced {
 public:
  explicit Fenced(int64_t count) : count_(static_cast<size_t>(count)) {
    const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    const size_t used = (count_ * sizeof(uint16_t) + page - 1) / page * page;
    size_ = used + page;
    start_ = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start_ == MAP_FAILED) throw std::runtime_error("no memory");
    char* const fence = static_cast<char*>(start_) + used;
    if (::mprotect(fence, page, PROT_NONE) != 0) throw std::runtime_error("no fence");
    data_ = reinterpret_cast<uint16_t*>(fence) - count_;
  }
  Fenced(const Fenced&) = delete;
  Fenced& operator=(const Fenced&) = delete;
  ~Fenced() { ::munmap(start_, size_); }

  uint16_t* data() const { return data_; }
  std::span<uint16_t> values() const { return {data_, count_}; }

 private:
  size_t count_, size_;
  void* start_;
  uint16_t* data_;
};

// bfloat16 of a seed: uniform in (-2, 2), or any finite bits, subnormals and large ones among them.
enum class Values { kOrdinary, kAnyFinite };

void fill(std::span<uint16_t> out, uint64_t seed, Values values) {
  std::mt19937_64 random(seed);  // its sequence is the standard's
  for (uint16_t& value : out) {
    const auto bits = random();
    if (values == Values::kOrdinary) {
      value = narrow(static_cast<float>(static_cast<int64_t>(bits) >> 40) * 0x1p-22f);
    } else {  // exponents of 2^-128 to 2^63, and of 2^-128 to 2^-121 often
      const auto exponent = (bits & 1) != 0 ? bits >> 8 & 7 : (bits >> 8) % 190;
      value = static_cast<uint16_t>((bits >> 48 & 0x807F) | exponent << 7);
    }
  }
}

// One element as tiles.h tells it, straight from the rows.
float element_of(const uint16_t* x, const uint16_t* w, int64_t columns) {
  float sum = 0;
  for (int64_t step = 0; step < columns; step += 32) {
    float even = 0, odd = 0;
    for (int64_t k = step; k < std::min(step + 32, columns); ++k)
      (k % 2 == 0 ? even : odd) = tile_fma(widen(w[k]), widen(x[k]), k % 2 == 0 ? even : odd);
    sum = tile_add(sum, tile_add(even, odd));
  }
  return sum;
}

// The bits to compare: a sum that overflowed both ways is a NaN of some kind.
uint32_t bits_of(float value) {
  return std::isnan(value) ? 0x7FC00000u : std::bit_cast<uint32_t>(value);
}
uint32_t bits_of(uint16_t value) { return value; }
void narrow_to(float value, float& out) { out = value; }
void narrow_to(float value, uint16_t& out) { out = narrow(value); }

FibCall call_on(WorkerPool& pool) {
  FibCall call{};
  call.num_threads = pool.size();
  call.parallel_for = [](const FibCall* own, int64_t count, int64_t, FibBody body, void* context) {
    static_cast<WorkerPool*>(own->host)->run(count, 1, body, context);  // the finest there is
  };
  call.host = &pool;
  return call;
}

// C of A [rows, kK] and B [kN, kK] by tiles, on the pool, with canaries behind it.
template <int64_t kN, int64_t kK, class Out, class Tiles>
std::vector<uint32_t> product(const uint16_t* a, const uint16_t* b, int64_t rows,
                              WorkerPool& pool) {
  using Product = TileGemm<kN, kK, Out, Tiles>;
  constexpr size_t kCanaries = 64;
  std::vector<Out> c(static_cast<size_t>(rows * kN) + kCanaries, static_cast<Out>(77));
  const size_t bytes = Product::workspace_bytes(rows);
  EXPECT_GT(bytes, 0u);
  const Fenced workspace(static_cast<int64_t>(bytes / sizeof(uint16_t)));
  std::fill(workspace.values().begin(), workspace.values().end(), uint16_t{0x7FC0});  // NaN
  const FibCall call = call_on(pool);
  Product{a, b, c.data(), rows, workspace.data()}.run(&call);
  std::vector<uint32_t> bits;
  for (const Out value : c) bits.push_back(bits_of(value));
  for (size_t i = c.size() - kCanaries; i < c.size(); ++i)
    EXPECT_EQ(bits[i], bits_of(static_cast<Out>(77))) << "behind the end";
  bits.resize(c.size() - kCanaries);
  return bits;
}

template <int64_t kN, int64_t kK, class Out, class Tiles>
void expect_right(int64_t rows, Values values, WorkerPool& pool) {
  SCOPED_TRACE(testing::Message() << rows << " rows, N " << kN << ", K " << kK);
  const Fenced a(rows * kK), b(kN * kK);
  fill(a.values(), 1, values);
  fill(b.values(), 2, values);
  const auto bits = product<kN, kK, Out, Tiles>(a.data(), b.data(), rows, pool);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < kN; ++column) {
      const float sum = element_of(a.data() + row * kK, b.data() + column * kK, kK);
      Out value;
      narrow_to(sum, value);
      ASSERT_EQ(bits[static_cast<size_t>(row * kN + column)], bits_of(value))
          << "row " << row << ", column " << column;
      if (values != Values::kOrdinary) continue;
      double exact = 0, size = 0;
      for (int64_t k = 0; k < kK; ++k) {
        const double term = static_cast<double>(widen(a.data()[row * kK + k])) *
                            static_cast<double>(widen(b.data()[column * kK + k]));
        exact += term;
        size += std::fabs(term);
      }
      // A term is rounded at most 16 times within its step, and at each step behind it.
      ASSERT_NEAR(sum, exact, size * (16 + kK / 32.0 + 2) * 0x1p-24);
    }
  }
}

template <int64_t kN, int64_t kK, class Out, class Tiles>
void expect_rows_alone_right(WorkerPool& pool) {
  constexpr int64_t kRows = 45;
  const Fenced a(kRows * kK), b(kN * kK);
  fill(a.values(), 3, Values::kOrdinary);
  fill(b.values(), 4, Values::kOrdinary);
  const auto together = product<kN, kK, Out, Tiles>(a.data(), b.data(), kRows, pool);
  for (const int64_t rows : {1, 2, 3, 15, 16, 17, 31, 32, 33}) {
    for (const int64_t first : {int64_t{0}, kRows - rows}) {
      SCOPED_TRACE(testing::Message() << rows << " rows from " << first);
      const auto some = product<kN, kK, Out, Tiles>(a.data() + first * kK, b.data(), rows, pool);
      const auto from = together.begin() + first * kN;
      EXPECT_TRUE(std::equal(some.begin(), some.end(), from));
    }
  }
}

// All of it on `Tiles`.
template <class Tiles>
void expect_products_right(WorkerPool& pool) {
  for (int64_t rows = 1; rows <= 70; ++rows)
    expect_right<33, 72, uint16_t, Tiles>(rows, Values::kOrdinary, pool);
  for (const int64_t rows : {1, 4, 16, 18, 40}) {
    expect_right<1, 1, float, Tiles>(rows, Values::kOrdinary, pool);
    expect_right<5, 31, float, Tiles>(rows, Values::kOrdinary, pool);
    expect_right<16, 32, uint16_t, Tiles>(rows, Values::kOrdinary, pool);
    expect_right<70, 200, float, Tiles>(rows, Values::kOrdinary, pool);
    expect_right<48, 64, float, Tiles>(rows, Values::kAnyFinite, pool);
    expect_right<50, 333, uint16_t, Tiles>(rows, Values::kAnyFinite, pool);
  }
  expect_right<40, 4104, float, Tiles>(150, Values::kOrdinary, pool);  // two blocks of panels
  expect_rows_alone_right<70, 328, float, Tiles>(pool);
}

// ---- Experts.

// moe_bf16 of seeded operands: tokens' experts are distinct, and many choose the first ones.
template <int64_t kExperts, int64_t kTopK, int64_t kHidden, int64_t kInner>
struct Routed {
  explicit Routed(int64_t count)
      : tokens(count),
        hidden(count * kHidden),
        gate_up(kExperts * 2 * kInner * kHidden),
        down(kExperts * kHidden * kInner) {
    fill(hidden.values(), 7, Values::kOrdinary);
    fill(gate_up.values(), 8, Values::kOrdinary);
    fill(down.values(), 9, Values::kOrdinary);
    std::mt19937_64 random(10);
    for (int64_t token = 0; token < tokens; ++token) {
      const auto first = static_cast<int64_t>(random() % 4 == 0 ? random() % kExperts : 1);
      for (int64_t k = 0; k < kTopK; ++k) {
        ids.push_back(static_cast<int32_t>((first + 2 * k) % kExperts));
        weights.push_back(static_cast<float>(random() >> 40) * 0x1p-24f);
      }
    }
  }

  // The same for `count` tokens from `first` on.
  template <class Tiles>
  std::vector<uint16_t> run(int64_t first, int64_t count, WorkerPool& pool) const {
    using Experts = TileMoe<kExperts, kTopK, kHidden, kInner, Tiles>;
    const Fenced output(count * kHidden);
    const Fenced workspace(static_cast<int64_t>(Experts::workspace_bytes(count) / 2));
    std::fill(workspace.values().begin(), workspace.values().end(), uint16_t{0x7FC0});
    FibCall call = call_on(pool);
    call.workspace = workspace.data();
    Experts experts{};
    experts.hidden = hidden.data() + first * kHidden;
    experts.ids = ids.data() + first * kTopK;
    experts.weights = weights.data() + first * kTopK;
    experts.gate_up.data = gate_up.data();
    experts.down.data = down.data();
    experts.output = output.data();
    experts.tokens = count;
    experts.run(&call);
    return {output.values().begin(), output.values().end()};
  }

  // One token's output, by element_of.
  std::vector<uint16_t> straight(int64_t token) const {
    std::vector<std::pair<int32_t, float>> chosen;
    for (int64_t k = 0; k < kTopK; ++k) {
      const auto i = static_cast<size_t>(token * kTopK + k);
      chosen.emplace_back(ids[i], weights[i]);
    }
    std::sort(chosen.begin(), chosen.end());
    std::vector<float> sums(kHidden);
    for (const auto& [expert, weight] : chosen) {
      std::vector<uint16_t> middle;
      const uint16_t* const rows = gate_up.data() + expert * 2 * kInner * kHidden;
      const uint16_t* const x = hidden.data() + token * kHidden;
      for (int64_t i = 0; i < kInner; ++i) {
        const float gate = element_of(x, rows + i * kHidden, kHidden);
        const float up = element_of(x, rows + (kInner + i) * kHidden, kHidden);
        middle.push_back(narrow(silu(splat(gate)) * splat(up))[0]);
      }
      for (int64_t h = 0; h < kHidden; ++h) {
        const uint16_t* const row = down.data() + (expert * kHidden + h) * kInner;
        float& sum = sums[static_cast<size_t>(h)];
        sum = fma(weight, element_of(middle.data(), row, kInner), sum);
      }
    }
    std::vector<uint16_t> output;
    for (const float sum : sums) output.push_back(narrow(sum));
    return output;
  }

  int64_t tokens;
  Fenced hidden, gate_up, down;
  std::vector<int32_t> ids;
  std::vector<float> weights;
};

template <class Tiles, class Experts>
void expect_experts_right(const Experts& experts, WorkerPool& pool) {
  const auto together = experts.template run<Tiles>(0, experts.tokens, pool);
  const auto width = static_cast<int64_t>(together.size()) / experts.tokens;
  for (int64_t token = 0; token < experts.tokens; ++token) {
    const auto alone = experts.straight(token);
    ASSERT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + token * width))
        << "token " << token << " of " << experts.tokens;
  }
  for (const int64_t count : {1, 2, 7, 17}) {
    const int64_t first = experts.tokens - count;
    if (first < 0) continue;
    const auto some = experts.template run<Tiles>(first, count, pool);
    EXPECT_TRUE(std::equal(some.begin(), some.end(), together.begin() + first * width)) << count;
  }
}

template <class Tiles>
void expect_experts_right(WorkerPool& pool) {
  expect_experts_right<Tiles>(Routed<6, 3, 144, 48>(1), pool);
  expect_experts_right<Tiles>(Routed<6, 3, 144, 48>(50), pool);  // three panels an expert
  expect_experts_right<Tiles>(Routed<16, 2, 64, 32>(9), pool);
  expect_experts_right<Tiles>(Routed<5, 2, 16, 16>(2500), pool);  // more panels than a wave
}

// Some of it on several threads, in the smallest pieces.
template <class Tiles>
void expect_threads_right(int threads) {
  WorkerPool pool(threads);
  expect_right<33, 72, uint16_t, Tiles>(1, Values::kOrdinary, pool);
  expect_right<33, 72, uint16_t, Tiles>(18, Values::kOrdinary, pool);
  expect_right<200, 328, float, Tiles>(37, Values::kOrdinary, pool);
  expect_experts_right<Tiles>(Routed<6, 3, 144, 48>(50), pool);
}

// ---- The model, which the rest rests upon.

TEST(TileModel, SumsEvenAndOddColumnsApart) {
  // Even columns: 2^24, then 1 three times, each lost. Odd columns: 1, 1: not lost.
  const std::vector<uint16_t> ones(8, narrow(1.0f));
  std::vector<uint16_t> x(8, narrow(1.0f));
  x[0] = narrow(0x1p24f);
  x[5] = x[7] = 0;
  EXPECT_EQ(element_of(x.data(), ones.data(), 8), 0x1p24f + 2.0f);
}

TEST(TileModel, RoundsToEvenAndTakesSubnormalsAsZero) {
  EXPECT_EQ(tile_fma(1.0f, 1.0f, 0x1p24f), 0x1p24f);
  EXPECT_EQ(tile_fma(3.0f, 1.0f, 0x1p24f), 0x1p24f + 4.0f);
  EXPECT_EQ(tile_fma(0x1p-127f, 0x1p100f, 0.0f), 0.0f);
  EXPECT_EQ(tile_fma(0x1p-100f, 0x1p-100f, 0x1p-127f), 0.0f);
  EXPECT_EQ(tile_fma(0x1p-64f, 0x1p-63f, 0.0f), 0.0f);
  EXPECT_EQ(tile_add(0x1.8p-126f, -0x1p-126f), 0.0f);
}

TEST(TileModel, RefusesWhatTheProcessorRefuses) {
  EXPECT_THROW(TileModel({.weight_rows = 17, .x_rows = 1}), std::logic_error);
  EXPECT_THROW(TileModel({.weight_rows = 16, .x_rows = 0}), std::logic_error);
  TileModel tiles({.weight_rows = 16, .x_rows = 3});
  EXPECT_THROW((tiles.multiply<0, 6, 4>()), std::logic_error);
}

TEST(TileModel, ProductsAreRight) {
  WorkerPool one(1);
  expect_products_right<TileModel>(one);
}

TEST(TileModel, ExpertsAreRight) {
  WorkerPool one(1);
  expect_experts_right<TileModel>(one);
}

TEST(TileModel, OnThreadsToo) { expect_threads_right<TileModel>(3); }

TEST(TileModel, NoRowsAreNoWork) {
  FibCall call{};  // no parallel_for
  TileGemm<16, 32, float, TileModel>{nullptr, nullptr, nullptr, 0, nullptr}.run(&call);
}

// ---- The registers.

#if defined(__x86_64__)
bool has_tiles() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("amx-tile") != 0 && __builtin_cpu_supports("amx-bf16") != 0;
}

TEST(Tiles, AreNotUsedWhereThereAreNone) {
  const bool may = may_use_tiles();
  EXPECT_TRUE(has_tiles() || !may);
  EXPECT_EQ(may_use_tiles(), may);
}

class TileRegistersTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_tiles()) GTEST_SKIP() << "this processor has no AMX-BF16";
    if (!may_use_tiles()) GTEST_SKIP() << "this kernel refuses the processor's tile registers";
  }
};

TEST_F(TileRegistersTest, ProductsAreTheModels) {
  WorkerPool one(1);
  expect_products_right<TileRegisters>(one);
}

TEST_F(TileRegistersTest, ExpertsAreTheModels) {
  WorkerPool one(1);
  expect_experts_right<TileRegisters>(one);
}

TEST_F(TileRegistersTest, OnThreadsToo) {
  expect_threads_right<TileRegisters>(2);
  expect_threads_right<TileRegisters>(8);
}

// Other threads' registers, switches between threads and a release in between leave sums alone.
TEST_F(TileRegistersTest, ThreadsHaveTheirOwn) {
  constexpr int64_t kN = 96, kK = 1024, kRows = 40;
  const Fenced a(kRows * kK), b(kN * kK);
  fill(a.values(), 5, Values::kOrdinary);
  fill(b.values(), 6, Values::kOrdinary);
  WorkerPool pool(1);
  const auto right = product<kN, kK, float, TileModel>(a.data(), b.data(), kRows, pool);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 2 * std::thread::hardware_concurrency() + 2; ++i) {
    threads.emplace_back([&] {
      WorkerPool own(1);
      for (int repetition = 0; repetition < 50; ++repetition) {
        const auto bits = product<kN, kK, float, TileRegisters>(a.data(), b.data(), kRows, own);
        EXPECT_EQ(bits, right);
        std::this_thread::yield();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}
#endif

}  // namespace
}  // namespace fib
