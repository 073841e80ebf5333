#include "workloads/generator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace fib {
namespace {

using Kind = Distribution::Kind;

std::string hex(const PhiloxBlock& block) {
  char text[40];
  std::snprintf(text, sizeof text, "%08x %08x %08x %08x", block.word[0], block.word[1],
                block.word[2], block.word[3]);
  return text;
}

// The known answers of Random123's kat_vectors for philox4x32-10. The counter's words are
// (counter, stream), low word first.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(hex(philox_4x32_10(0, 0, 0)), "6627e8d5 e169c58d bc57ac4c 9b00dbd8");
  EXPECT_EQ(hex(philox_4x32_10(~0ull, ~0ull, ~0ull)), "408f276d 41c83b0e a20bc7c6 6d5451fd");
  EXPECT_EQ(hex(philox_4x32_10(0x85a308d3243f6a88, 0x0370734413198a2e, 0x299f31d0a4093822)),
            "d16cfe09 94fdcceb 5001e420 24126ea1");
}

TEST(Philox, AnElementIsHalfABlock) {
  const PhiloxBlock block = philox_4x32_10(21, 5, 7);
  EXPECT_EQ(philox_element_bits(42, 5, 7), block.word[0] | uint64_t{block.word[1]} << 32);
  EXPECT_EQ(philox_element_bits(43, 5, 7), block.word[2] | uint64_t{block.word[3]} << 32);
}

// The integer narrowing that the device shares, against the conversions of signatures/base.
TEST(Philox, NarrowingAgreesWithTheBaseConversions) {
  std::vector<float> values = {
      0.0f,         -0.0f,         1.0f,     -1.5f,    447.0f,   448.0f, 464.0f,
      480.0f,       -1e6f,         65504.0f, 65519.0f, 65520.0f, 1e-8f,  5.9604645e-8f,
      2.98e-8f,     0.25f,         0.75f,    1.25f,    5.0f,     6.0f,   7.0f,
      0.001953125f, 0.0009765625f, 1.5e-5f,  57344.0f, 61440.0f, 3.4e38f};
  for (uint64_t i = 0; i < 200000; ++i) {  // any exponent, any mantissa
    const auto bits = static_cast<uint32_t>(philox_element_bits(i, 1, 2));
    float value;
    std::memcpy(&value, &bits, sizeof value);
    if (std::isfinite(value)) values.push_back(value);
    values.push_back(normal_from_bits(philox_element_bits(i, 3, 4)) * 20.0f);
  }
  for (const float value : values) {
    ASSERT_EQ(float_storage_bits(value, kStoreBFloat16), float_to_bf16(value)) << value;
    ASSERT_EQ(float_storage_bits(value, kStoreFloat16), float_to_fp16(value)) << value;
    ASSERT_EQ(float_storage_bits(value, kStoreFloat8E4M3), float_to_fp8_e4m3fn(value)) << value;
    ASSERT_EQ(float_storage_bits(value, kStoreFloat8E5M2), float_to_fp8_e5m2(value)) << value;
    ASSERT_EQ(float_storage_bits(value, kStoreFloat4E2M1), float_to_fp4_e2m1(value)) << value;
  }
}

constexpr DType kAllDTypes[] = {DType::kFloat32,      DType::kFloat16,    DType::kBFloat16,
                                DType::kFloat8E4M3FN, DType::kFloat8E5M2, DType::kFloat4E2M1,
                                DType::kInt64,        DType::kInt32,      DType::kInt16,
                                DType::kInt8,         DType::kBool};

uint64_t stored_element(DType dtype, const std::vector<std::byte>& storage, int64_t i) {
  const int bits = bits_of(dtype);
  if (bits == 4) return static_cast<uint64_t>(storage[i / 2] >> (4 * (i % 2))) & 15;
  uint64_t value = 0;
  std::memcpy(&value, storage.data() + i * bits / 8, static_cast<size_t>(bits) / 8);
  return value;
}

std::vector<Distribution> distributions_for(DType dtype) {
  std::vector<Distribution> all = {
      resolve_distribution({}, dtype), {Kind::kBits, 0, 0}, {Kind::kUniformInt, 0, 1}};
  if (is_floating(dtype)) {
    all.push_back({Kind::kNormal, 0.5, 3.0});
    all.push_back({Kind::kUniform, -0.25, 0.75});
  }
  return all;
}

// Every dtype and distribution: bulk filling from any element on is the per-element definition.
TEST(Generator, FillIsTheDefinitionFromAnyElementOn) {
  for (const DType dtype : kAllDTypes) {
    for (const Distribution& distribution : distributions_for(dtype)) {
      const Generated generated = {0x1234567890abcdef, 3, distribution};
      for (const int64_t first : {0, 1, 511, 1026, 5000001}) {
        const int64_t count = 1300;
        std::vector<std::byte> storage(storage_bytes(dtype, count), std::byte{0xAA});
        fill_generated(generated, dtype, first, count, storage.data());
        for (int64_t i = 0; i < count; ++i) {
          ASSERT_EQ(stored_element(dtype, storage, i), generated_bits(generated, dtype, first + i))
              << dtype_name(dtype) << " kind " << static_cast<int>(distribution.kind) << " element "
              << first + i;
        }
      }
    }
  }
}

// The source's three ways of reading agree with the stored bytes, for slices of any place.
TEST(Generator, SourceReadsWhatIsStored) {
  for (const DType dtype : kAllDTypes) {
    for (const Distribution& distribution : distributions_for(dtype)) {
      const TensorDesc desc = {.name = "x", .dtype = dtype, .shape = {77, 41}};
      const Generated generated = {99, 1, distribution};
      const auto source = generated_source(desc, generated);
      std::vector<std::byte> whole(desc.size_bytes());
      fill_generated(generated, dtype, 0, desc.num_elements(), whole.data());

      for (const auto& [first, count] : {std::pair{0, 3157}, {1, 600}, {1023, 5}, {3156, 1}}) {
        if (is_integer(dtype)) {
          std::vector<int64_t> values(static_cast<size_t>(count));
          source->read(first, std::span<int64_t>(values));
          for (int i = 0; i < count && dtype != DType::kInt64; ++i) {
            ASSERT_EQ(static_cast<double>(values[i]), load_element(dtype, whole.data(), first + i))
                << dtype_name(dtype);
          }
        } else {
          std::vector<float> values(static_cast<size_t>(count));
          source->read(first, std::span<float>(values));
          for (int i = 0; i < count; ++i) {
            const double stored = load_element(dtype, whole.data(), first + i);
            ASSERT_TRUE(values[i] == stored || (std::isnan(values[i]) && std::isnan(stored)))
                << dtype_name(dtype) << " " << first + i << ": " << values[i] << " " << stored;
          }
        }
      }
      const auto size = static_cast<int64_t>(whole.size());
      for (const auto& [first, count] :
           {std::pair<int64_t, int64_t>{0, size}, {3, 11}, {size - 5, 5}, {512, 513}}) {
        std::vector<std::byte> bytes(static_cast<size_t>(count));
        source->read_bytes(first, bytes);
        ASSERT_EQ(0, std::memcmp(bytes.data(), whole.data() + first, bytes.size()))
            << dtype_name(dtype) << " bytes from " << first;
      }
    }
  }
}

struct Moments {
  double mean = 0, deviation = 0, lowest = 1e300, highest = -1e300;
};

Moments moments(DType dtype, const Distribution& distribution) {
  constexpr int64_t kCount = 400000;
  constexpr uint64_t kSeed = 20260101;
  const Generated generated = {kSeed, 0, distribution};
  std::vector<std::byte> storage(storage_bytes(dtype, kCount));
  fill_generated(generated, dtype, 0, kCount, storage.data());
  Moments m;
  double squares = 0;
  for (int64_t i = 0; i < kCount; ++i) {
    const double x = load_element(dtype, storage.data(), i);
    m.mean += x / kCount;
    squares += x * x / kCount;
    m.lowest = std::min(m.lowest, x);
    m.highest = std::max(m.highest, x);
  }
  m.deviation = std::sqrt(squares - m.mean * m.mean);
  return m;
}

// With 400,000 draws the mean is off by deviation / 632; five times that is allowed.
TEST(Generator, Moments) {
  const Moments normal = moments(DType::kFloat32, {Kind::kNormal, 2.0, 3.0});
  EXPECT_NEAR(normal.mean, 2.0, 3.0 / 632 * 5);
  EXPECT_NEAR(normal.deviation, 3.0, 0.02);
  const Moments half = moments(DType::kBFloat16, resolve_distribution({}, DType::kBFloat16));
  EXPECT_NEAR(half.mean, 0.0, 5.0 / 632);
  EXPECT_NEAR(half.deviation, 1.0, 0.01);
  EXPECT_LT(half.highest, 3.5);
  const Moments uniform = moments(DType::kFloat32, {Kind::kUniform, -1.0, 3.0});
  EXPECT_NEAR(uniform.mean, 1.0, 4.0 / std::sqrt(12.0) / 632 * 5);
  EXPECT_NEAR(uniform.deviation, 4.0 / std::sqrt(12.0), 0.01);
  EXPECT_GE(uniform.lowest, -1.0);
  EXPECT_LT(uniform.highest, 3.0);
  const Moments byte = moments(DType::kInt8, resolve_distribution({}, DType::kInt8));
  EXPECT_EQ(byte.lowest, -128);
  EXPECT_EQ(byte.highest, 127);
  EXPECT_NEAR(byte.mean, -0.5, 73.9 / 632 * 5);
  const Moments word = moments(DType::kInt32, resolve_distribution({}, DType::kInt32));
  EXPECT_EQ(word.lowest, -1024);
  EXPECT_EQ(word.highest, 1024);
  const Moments coin = moments(DType::kBool, resolve_distribution({}, DType::kBool));
  EXPECT_NEAR(coin.mean, 0.5, 0.5 / 632 * 5);
}

// Narrow floats stay within two deviations.
TEST(Generator, NarrowFloatsAreClamped) {
  for (const DType dtype : {DType::kFloat8E4M3FN, DType::kFloat8E5M2, DType::kFloat4E2M1}) {
    const Moments m = moments(dtype, resolve_distribution({}, dtype));
    EXPECT_EQ(m.highest, 2.0) << dtype_name(dtype);
    EXPECT_EQ(m.lowest, -2.0) << dtype_name(dtype);
  }
}

TEST(Generator, StreamsAndSeedsAreIndependent) {
  const Distribution bits = {Kind::kBits, 0, 0};
  int equal = 0;
  for (int64_t i = 0; i < 1000; ++i) {
    const uint64_t base = generated_bits({1, 0, bits}, DType::kInt64, i);
    equal += base == generated_bits({1, 1, bits}, DType::kInt64, i);
    equal += base == generated_bits({2, 0, bits}, DType::kInt64, i);
  }
  EXPECT_EQ(equal, 0);
}

TEST(Generator, RefusesWhatCannotBeDrawn) {
  EXPECT_THROW(value_rule({Kind::kDefault, 0, 1}, DType::kFloat32), std::logic_error);
  EXPECT_THROW(value_rule({Kind::kNormal, 0, 1}, DType::kInt32), std::logic_error);
}

}  // namespace
}  // namespace fib
