#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "signatures/base/dtype.h"

namespace fib {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

constexpr DType kAll[] = {DType::kFloat32,      DType::kFloat16,    DType::kBFloat16,
                          DType::kFloat8E4M3FN, DType::kFloat8E5M2, DType::kFloat4E2M1,
                          DType::kInt64,        DType::kInt32,      DType::kInt16,
                          DType::kInt8,         DType::kBool};
static_assert(std::size(kAll) == kDTypeCount);

// A narrow format, decoded here a second way: straight from the definition, with ldexp.
struct Narrow {
  DType dtype;
  int exponent_bits;
  int mantissa_bits;
  bool has_infinity;
  bool saturates;

  int codes() const { return 2 << (exponent_bits + mantissa_bits); }

  double decode(int code) const {
    const int magnitude = code & (codes() / 2 - 1);
    const int exponent = magnitude >> mantissa_bits;
    const int mantissa = magnitude & ((1 << mantissa_bits) - 1);
    const int top = (1 << exponent_bits) - 1;
    const int bias = (1 << (exponent_bits - 1)) - 1;
    double value = exponent == 0 ? std::ldexp(mantissa, 1 - bias - mantissa_bits)
                                 : std::ldexp(mantissa + (1 << mantissa_bits),
                                              exponent - bias - mantissa_bits);
    if (has_infinity && exponent == top) value = mantissa == 0 ? kInf : kNan;
    if (dtype == DType::kFloat8E4M3FN && magnitude == 0x7f) value = kNan;
    return code >= codes() / 2 ? -value : value;
  }
};

constexpr Narrow kNarrow[] = {
    {DType::kFloat16, 5, 10, true, false},     {DType::kBFloat16, 8, 7, true, false},
    {DType::kFloat8E4M3FN, 4, 3, false, true}, {DType::kFloat8E5M2, 5, 2, true, true},
    {DType::kFloat4E2M1, 2, 1, false, true},
};

std::array<std::byte, 8> bytes_of(int code) {
  std::array<std::byte, 8> bytes{};
  std::memcpy(bytes.data(), &code, sizeof code);
  return bytes;
}

int stored_code(DType dtype, double value) {
  std::array<std::byte, 8> bytes{};
  store_element(dtype, bytes.data(), 0, value);
  int code;
  std::memcpy(&code, bytes.data(), sizeof code);
  return code;
}

class NarrowFloat : public testing::TestWithParam<Narrow> {};

TEST_P(NarrowFloat, EveryCodeDecodesAndStoresBack) {
  const Narrow& format = GetParam();
  for (int code = 0; code < format.codes(); ++code) {
    const double expected = format.decode(code);
    const double value = load_element(format.dtype, bytes_of(code).data(), 0);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << code;
      ASSERT_TRUE(std::isnan(round_to(format.dtype, value))) << code;
      continue;
    }
    ASSERT_EQ(value, expected) << code;
    ASSERT_EQ(std::signbit(value), std::signbit(expected)) << code;
    if (format.saturates && std::isinf(value)) continue;
    ASSERT_EQ(stored_code(format.dtype, value), code);
  }
}

// Between each pair of neighbours: the exact middle goes to the even code, and the nearest doubles
// on either side of it go their own way (which rounding by way of float would get wrong).
TEST_P(NarrowFloat, RoundsToNearestTiesToEven) {
  const Narrow& format = GetParam();
  for (int code = 0; code + 1 < format.codes() / 2; ++code) {
    const double low = format.decode(code), high = format.decode(code + 1);
    if (!std::isfinite(low) || !std::isfinite(high)) continue;
    const double middle = low + (high - low) / 2;
    for (int sign : {1, -1}) {
      const int sign_code = sign > 0 ? 0 : format.codes() / 2;
      ASSERT_EQ(stored_code(format.dtype, sign * middle), sign_code + code + code % 2) << code;
      ASSERT_EQ(stored_code(format.dtype, sign * std::nextafter(middle, 0)), sign_code + code);
      ASSERT_EQ(stored_code(format.dtype, sign * std::nextafter(middle, kInf)),
                sign_code + code + 1);
    }
  }
}

TEST_P(NarrowFloat, OverflowSaturatesOrIsInfinite) {
  const Narrow& format = GetParam();
  double largest = 0;
  double step = 0;
  for (int code = 1; code < format.codes() / 2; ++code) {
    const double value = format.decode(code);
    if (!std::isfinite(value)) continue;
    step = value - largest;
    largest = value;
  }
  const double beyond = format.saturates ? largest : kInf;
  EXPECT_EQ(round_to(format.dtype, std::nextafter(largest + step / 2, 0)), largest);
  EXPECT_EQ(round_to(format.dtype, largest + step / 2), beyond);
  EXPECT_EQ(round_to(format.dtype, 1e300), beyond);
  EXPECT_EQ(round_to(format.dtype, kInf), beyond);
  EXPECT_EQ(round_to(format.dtype, -kInf), -beyond);
}

TEST_P(NarrowFloat, BulkLoadsAgreeWithSingleOnesFromAnyStart) {
  const Narrow& format = GetParam();
  const int count = format.codes();
  std::vector<std::byte> packed(storage_bytes(format.dtype, count));
  if (format.dtype == DType::kFloat4E2M1) {
    for (int code = 0; code < count; ++code)
      packed[code / 2] |= std::byte(code << (code % 2 == 0 ? 0 : 4));
  } else {
    const int width = bits_of(format.dtype) / 8;
    for (int code = 0; code < count; ++code)
      std::memcpy(packed.data() + code * width, &code, width);
  }
  for (int first : {0, 1, 5}) {
    std::vector<float> loaded(count - first);
    load_floats(format.dtype, packed.data(), first, loaded);
    for (int i = first; i < count; ++i) {
      const double expected = format.decode(i);
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(loaded[i - first])) << i;
      } else {
        ASSERT_EQ(loaded[i - first], expected) << i;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(DType, NarrowFloat, testing::ValuesIn(kNarrow), [](const auto& info) {
  return std::string(dtype_name(info.param.dtype));
});

// The float overloads, which callers use in inner loops, against the double ones.
TEST(DType, FloatOverloadsAgreeWithStoring) {
  uint32_t state = 12345;
  for (int i = 0; i < 200'000; ++i) {
    state = state * 1664525u + 1013904223u;
    const float value = std::bit_cast<float>(state);
    if (std::isnan(value)) continue;
    ASSERT_EQ(float_to_bf16(value), stored_code(DType::kBFloat16, value)) << value;
    ASSERT_EQ(float_to_fp16(value), stored_code(DType::kFloat16, value)) << value;
    ASSERT_EQ(float_to_fp8_e4m3fn(value), stored_code(DType::kFloat8E4M3FN, value)) << value;
    ASSERT_EQ(float_to_fp8_e5m2(value), stored_code(DType::kFloat8E5M2, value)) << value;
    ASSERT_EQ(float_to_fp4_e2m1(value), stored_code(DType::kFloat4E2M1, value)) << value;
  }
}

TEST(DType, SixteenBitCodesSurviveFloatExactlyNansIncluded) {
  for (uint32_t code = 0; code < 65536; ++code) {
    const float from_bf16 = bf16_to_float(static_cast<uint16_t>(code));
    const float from_fp16 = fp16_to_float(static_cast<uint16_t>(code));
    // Signalling NaNs come back quiet, payload and sign kept.
    ASSERT_EQ(float_to_bf16(from_bf16), std::isnan(from_bf16) ? code | 0x40 : code);
    ASSERT_EQ(float_to_fp16(from_fp16), std::isnan(from_fp16) ? code | 0x200 : code);
  }
}

TEST(DType, NanWhereTheFormatHasOne) {
  EXPECT_TRUE(std::isnan(round_to(DType::kFloat32, kNan)));
  EXPECT_TRUE(std::isnan(round_to(DType::kFloat16, kNan)));
  EXPECT_TRUE(std::isnan(round_to(DType::kBFloat16, kNan)));
  EXPECT_TRUE(std::isnan(round_to(DType::kFloat8E4M3FN, kNan)));
  EXPECT_TRUE(std::isnan(round_to(DType::kFloat8E5M2, kNan)));
  EXPECT_EQ(round_to(DType::kFloat4E2M1, kNan), 6.0);
  EXPECT_EQ(round_to(DType::kInt32, kNan), 0);
}

TEST(DType, IntegersRoundToEvenAndSaturate) {
  EXPECT_EQ(round_to(DType::kInt8, 2.5), 2);
  EXPECT_EQ(round_to(DType::kInt8, 3.5), 4);
  EXPECT_EQ(round_to(DType::kInt8, -2.5), -2);
  EXPECT_EQ(round_to(DType::kInt8, 127.4), 127);
  EXPECT_EQ(round_to(DType::kInt8, 127.5), 127);
  EXPECT_EQ(round_to(DType::kInt8, -128.5), -128);
  EXPECT_EQ(round_to(DType::kInt16, -1e9), -32768);
  EXPECT_EQ(round_to(DType::kInt32, 1e10), 2147483647);
  std::array<std::byte, 8> bytes{};
  const auto stored_int64 = [&](double value) {
    store_element(DType::kInt64, bytes.data(), 0, value);
    return std::bit_cast<int64_t>(bytes);
  };
  EXPECT_EQ(stored_int64(0x1p63), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(stored_int64(kInf), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(stored_int64(-0x1p63), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(stored_int64(-kInf), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(stored_int64(-5), -5);
  EXPECT_EQ(round_to(DType::kBool, 0.25), 1);
  EXPECT_EQ(round_to(DType::kBool, 0), 0);
}

TEST(DType, NibblesShareAByteLowFirst) {
  std::array<std::byte, 2> bytes{};
  store_element(DType::kFloat4E2M1, bytes.data(), 0, 0.5);
  store_element(DType::kFloat4E2M1, bytes.data(), 1, -6);
  store_element(DType::kFloat4E2M1, bytes.data(), 2, 4);
  EXPECT_EQ(bytes[0], std::byte{0xf1});
  EXPECT_EQ(bytes[1], std::byte{0x06});
  store_element(DType::kFloat4E2M1, bytes.data(), 0, 3);
  EXPECT_EQ(load_element(DType::kFloat4E2M1, bytes.data(), 0), 3);
  EXPECT_EQ(load_element(DType::kFloat4E2M1, bytes.data(), 1), -6);
}

TEST(DType, IntegerElementsLoadAndBulkLoad) {
  for (DType dtype : kAll) {
    if (is_floating(dtype)) continue;
    std::vector<std::byte> data(storage_bytes(dtype, 5));
    for (int i = 0; i < 5; ++i) store_element(dtype, data.data(), i, i - 2);
    std::vector<float> loaded(4);
    load_floats(dtype, data.data(), 1, loaded);
    for (int i = 1; i < 5; ++i) {
      const double expected = dtype == DType::kBool ? i != 2 : i - 2;
      EXPECT_EQ(load_element(dtype, data.data(), i), expected) << dtype_name(dtype);
      EXPECT_EQ(loaded[i - 1], expected) << dtype_name(dtype);
    }
  }
}

TEST(DType, NamesGoBothWays) {
  for (DType dtype : kAll) {
    EXPECT_EQ(dtype_from_name(dtype_name(dtype)), dtype);
    EXPECT_EQ(dtype_from_safetensors_name(dtype_safetensors_name(dtype)), dtype);
  }
  EXPECT_EQ(dtype_name(DType::kBFloat16), "bfloat16");
  EXPECT_EQ(dtype_safetensors_name(DType::kFloat8E4M3FN), "F8_E4M3");
  EXPECT_EQ(dtype_from_name("BFloat16"), std::nullopt);
  EXPECT_EQ(dtype_from_name("bfloat"), std::nullopt);
  EXPECT_EQ(dtype_from_safetensors_name("U8"), std::nullopt);
}

TEST(DType, SizesAndKinds) {
  EXPECT_EQ(storage_bytes(DType::kFloat4E2M1, 3), 2u);
  EXPECT_EQ(storage_bytes(DType::kInt64, 3), 24u);
  EXPECT_EQ(storage_bytes(DType::kBool, 3), 3u);
  for (DType dtype : kAll)
    EXPECT_FALSE(is_floating(dtype) && is_integer(dtype)) << dtype_name(dtype);
  EXPECT_FALSE(is_floating(DType::kBool) || is_integer(DType::kBool));
}

TEST(DType, UnitRoundoffIsHalfTheStepAboveOne) {
  for (DType dtype : kAll) {
    if (!is_floating(dtype)) {
      EXPECT_EQ(unit_roundoff(dtype), 0);
      continue;
    }
    const double half_step = unit_roundoff(dtype);
    EXPECT_EQ(round_to(dtype, 1 + half_step), 1) << dtype_name(dtype);  // a tie, and 1.0 is even
    EXPECT_EQ(round_to(dtype, 1 + 1.25 * half_step), 1 + 2 * half_step) << dtype_name(dtype);
  }
}

TEST(DType, PackedInt4) {
  EXPECT_EQ(unpack_int4(0x76543210u), (std::array<int8_t, 8>{-8, -7, -6, -5, -4, -3, -2, -1}));
  EXPECT_EQ(unpack_int4(0xfedcba98u), (std::array<int8_t, 8>{0, 1, 2, 3, 4, 5, 6, 7}));
  for (uint32_t word : {0u, 0xffffffffu, 0x12345678u, 0x89abcdefu})
    EXPECT_EQ(pack_int4(unpack_int4(word)), word);
}

}  // namespace
}  // namespace fib
