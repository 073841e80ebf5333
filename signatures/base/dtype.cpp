#include "signatures/base/dtype.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

namespace fib {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are stored little-endian");

struct DTypeInfo {
  std::string_view name;
  std::string_view safetensors_name;
  int bits;
  double unit_roundoff;  // 2^-(stored mantissa bits + 1)
};

constexpr std::array<DTypeInfo, kDTypeCount> kInfo = {{
    {"float32", "F32", 32, 0x1p-24},
    {"float16", "F16", 16, 0x1p-11},
    {"bfloat16", "BF16", 16, 0x1p-8},
    {"float8_e4m3fn", "F8_E4M3", 8, 0x1p-4},
    {"float8_e5m2", "F8_E5M2", 8, 0x1p-3},
    {"float4_e2m1", "F4", 4, 0x1p-2},
    {"int64", "I64", 64, 0},
    {"int32", "I32", 32, 0},
    {"int16", "I16", 16, 0},
    {"int8", "I8", 8, 0},
    {"bool", "BOOL", 8, 0},
}};

const DTypeInfo& info(DType dtype) { return kInfo.at(static_cast<size_t>(dtype)); }

// A floating point format narrower than float32, by what the rounding below has to know.
struct Format {
  int exponent_bits;
  int mantissa_bits;
  uint32_t largest;   // code of the largest finite value
  uint32_t overflow;  // code of what is beyond it: infinity, or the largest value again
  uint32_t nan;       // code of a quiet NaN; formats without one give the largest value

  constexpr int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  constexpr int sign_shift() const { return exponent_bits + mantissa_bits; }
};

constexpr Format kFp16 = {5, 10, 0x7bff, 0x7c00, 0x7e00};
constexpr Format kBf16 = {8, 7, 0x7f7f, 0x7f80, 0x7fc0};
constexpr Format kE4M3FN = {4, 3, 0x7e, 0x7e, 0x7f};
// Infinities saturate too, as the hardware's conversion with .satfinite does.
constexpr Format kE5M2 = {5, 2, 0x7b, 0x7b, 0x7f};
constexpr Format kE2M1 = {2, 1, 0x7, 0x7, 0x7};

constexpr int kDoubleMantissaBits = 52;
constexpr int kDoubleBias = 1023;
constexpr uint64_t kDoubleInfinity = uint64_t{0x7ff} << kDoubleMantissaBits;

// Rounds straight from a double: going through float first would round twice.
template <Format kFormat>
constexpr uint32_t encode(double value) {
  const uint64_t bits = std::bit_cast<uint64_t>(value);
  const uint64_t magnitude = bits & ~(uint64_t{1} << 63);
  const uint32_t sign = static_cast<uint32_t>(bits >> 63) << kFormat.sign_shift();
  if (magnitude > kDoubleInfinity) return sign | kFormat.nan;

  constexpr int kShift = kDoubleMantissaBits - kFormat.mantissa_bits;
  constexpr int kRebias = kDoubleBias - kFormat.bias();
  const int exponent = static_cast<int>(magnitude >> kDoubleMantissaBits) - kRebias;

  // A double written with the format's exponent is the code followed by kShift bits to round
  // away; a carry out of the mantissa moves on to the next exponent by itself. Where the exponent
  // runs out, the leading one becomes visible and more bits are dropped.
  uint64_t exact;
  int dropped = kShift;
  if (exponent >= 1) {
    exact = magnitude - (static_cast<uint64_t>(kRebias) << kDoubleMantissaBits);
  } else {
    constexpr uint64_t kOne = uint64_t{1} << kDoubleMantissaBits;
    dropped += 1 - exponent;
    if (dropped > kDoubleMantissaBits + 1) return sign;  // below half of the smallest subnormal
    exact = (magnitude & (kOne - 1)) | kOne;
  }
  const uint64_t odd = (exact >> dropped) & 1;
  const uint64_t code = (exact + (uint64_t{1} << (dropped - 1)) - 1 + odd) >> dropped;
  return sign | (code > kFormat.largest ? kFormat.overflow : static_cast<uint32_t>(code));
}

// Values of the 8 and 4 bit formats, all of which fit a table.
template <Format kFormat>
constexpr float decode_small(uint32_t code) {
  const uint32_t magnitude = code & ((1u << kFormat.sign_shift()) - 1);
  const uint32_t mantissa_mask = (1u << kFormat.mantissa_bits) - 1;
  const uint32_t exponent = magnitude >> kFormat.mantissa_bits;
  float value;
  if (exponent == 0) {
    value = static_cast<float>(magnitude) *
            std::bit_cast<float>(
                static_cast<uint32_t>(127 + 1 - kFormat.bias() - kFormat.mantissa_bits) << 23);
  } else {
    const uint32_t float_exponent = exponent + 127 - kFormat.bias();
    value = std::bit_cast<float>((float_exponent << 23) |
                                 ((magnitude & mantissa_mask) << (23 - kFormat.mantissa_bits)));
  }
  if (kFormat.nan != kFormat.largest && magnitude > kFormat.largest) {
    // e5m2 keeps the IEEE infinity between the largest value and the NaNs.
    const bool infinite = kFormat.exponent_bits == 5 && (magnitude & mantissa_mask) == 0;
    value =
        infinite ? std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
  }
  return code >> kFormat.sign_shift() ? -value : value;
}

template <Format kFormat>
constexpr auto kDecoded = [] {
  std::array<float, size_t{2} << kFormat.sign_shift()> values;
  for (uint32_t code = 0; code < values.size(); ++code) values[code] = decode_small<kFormat>(code);
  return values;
}();

template <class T>
T load(const std::byte* data, int64_t index) {
  T value;
  std::memcpy(&value, data + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

template <class T>
void store(std::byte* data, int64_t index, T value) {
  std::memcpy(data + index * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}

uint8_t load_nibble(const std::byte* data, int64_t index) {
  const auto pair = std::to_integer<uint8_t>(data[index / 2]);
  return index % 2 == 0 ? pair & 15 : pair >> 4;
}

void store_nibble(std::byte* data, int64_t index, uint8_t nibble) {
  auto pair = std::to_integer<uint8_t>(data[index / 2]);
  pair = index % 2 == 0 ? (pair & 0xf0) | nibble : (pair & 0x0f) | (nibble << 4);
  data[index / 2] = std::byte{pair};
}

template <class T>
T round_to_integer(double value) {
  if (std::isnan(value)) return 0;
  // The upper limit of int64 is not a double; its successor is, and nothing lies between.
  constexpr double kBeyond = -2.0 * static_cast<double>(std::numeric_limits<T>::min() / 2);
  const double rounded = std::nearbyint(value);
  if (rounded >= kBeyond) return std::numeric_limits<T>::max();
  if (rounded < -kBeyond) return std::numeric_limits<T>::min();
  return static_cast<T>(rounded);
}

template <class T, class Convert>
void load_all(const std::byte* data, int64_t first, std::span<float> out, Convert convert) {
  const std::byte* source = data + first * static_cast<int64_t>(sizeof(T));
  float* target = out.data();
  const size_t count = out.size();
  for (size_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, source + i * sizeof(T), sizeof(T));
    target[i] = convert(value);
  }
}

// Without branches, so that loops over it become vector code. A subnormal is read one binade up
// with a leading one that it has not, and 2^-14, what that one is worth there, is taken off again.
inline float widen_fp16(uint16_t bits) {
  constexpr uint32_t kRebias = (127 - 15) << 23;
  const uint32_t magnitude = bits & 0x7fffu;
  const uint32_t if_subnormal = magnitude < 0x400u ? ~0u : 0u;
  const uint32_t if_special = magnitude >= 0x7c00u ? ~0u : 0u;  // exponent 31 becomes 255
  const uint32_t raised =
      (magnitude << 13) + kRebias + (if_subnormal & (1u << 23)) + (if_special & kRebias);
  const float surplus = std::bit_cast<float>(if_subnormal & std::bit_cast<uint32_t>(0x1p-14f));
  const float value = std::bit_cast<float>(raised) - surplus;
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | sign);
}

inline float widen_bf16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

}  // namespace

std::string_view dtype_name(DType dtype) { return info(dtype).name; }
std::string_view dtype_safetensors_name(DType dtype) { return info(dtype).safetensors_name; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (size_t i = 0; i < kInfo.size(); ++i)
    if (kInfo[i].name == name) return static_cast<DType>(i);
  return std::nullopt;
}

std::optional<DType> dtype_from_safetensors_name(std::string_view name) {
  for (size_t i = 0; i < kInfo.size(); ++i)
    if (kInfo[i].safetensors_name == name) return static_cast<DType>(i);
  return std::nullopt;
}

bool is_floating(DType dtype) { return dtype <= DType::kFloat4E2M1; }
bool is_integer(DType dtype) { return dtype >= DType::kInt64 && dtype <= DType::kInt8; }
int bits_of(DType dtype) { return info(dtype).bits; }
double unit_roundoff(DType dtype) { return info(dtype).unit_roundoff; }

size_t storage_bytes(DType dtype, int64_t count) {
  const size_t bits = static_cast<size_t>(bits_of(dtype));
  return bits >= 8 ? static_cast<size_t>(count) * (bits / 8)
                   : (static_cast<size_t>(count) * bits + 7) / 8;
}

float bf16_to_float(uint16_t bits) { return widen_bf16(bits); }
float fp16_to_float(uint16_t bits) { return widen_fp16(bits); }
float fp8_e4m3fn_to_float(uint8_t bits) { return kDecoded<kE4M3FN>[bits]; }
float fp8_e5m2_to_float(uint8_t bits) { return kDecoded<kE5M2>[bits]; }
float fp4_e2m1_to_float(uint8_t nibble) { return kDecoded<kE2M1>[nibble & 15]; }

uint16_t float_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1)) >> 16;
  const uint32_t quiet_nan = (bits >> 16) | 0x40u;  // the payload's upper bits are kept
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return static_cast<uint16_t>(is_nan ? quiet_nan : rounded);
}

uint16_t float_to_fp16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u)
    return static_cast<uint16_t>(((bits >> 16) & 0x8000u) | 0x7e00u | ((bits >> 13) & 0x3ffu));
  return static_cast<uint16_t>(encode<kFp16>(value));
}

uint8_t float_to_fp8_e4m3fn(float value) { return static_cast<uint8_t>(encode<kE4M3FN>(value)); }
uint8_t float_to_fp8_e5m2(float value) { return static_cast<uint8_t>(encode<kE5M2>(value)); }
uint8_t float_to_fp4_e2m1(float value) { return static_cast<uint8_t>(encode<kE2M1>(value)); }

std::array<int8_t, 8> unpack_int4(uint32_t word) {
  std::array<int8_t, 8> values;
  for (int i = 0; i < 8; ++i) values[i] = static_cast<int8_t>(((word >> (4 * i)) & 15u) - 8);
  return values;
}

uint32_t pack_int4(const std::array<int8_t, 8>& values) {
  uint32_t word = 0;
  for (int i = 0; i < 8; ++i) word |= (static_cast<uint32_t>(values[i] + 8) & 15u) << (4 * i);
  return word;
}

double load_element(DType dtype, const std::byte* data, int64_t index) {
  switch (dtype) {
    case DType::kFloat32: return load<float>(data, index);
    case DType::kFloat16: return widen_fp16(load<uint16_t>(data, index));
    case DType::kBFloat16: return widen_bf16(load<uint16_t>(data, index));
    case DType::kFloat8E4M3FN: return fp8_e4m3fn_to_float(load<uint8_t>(data, index));
    case DType::kFloat8E5M2: return fp8_e5m2_to_float(load<uint8_t>(data, index));
    case DType::kFloat4E2M1: return fp4_e2m1_to_float(load_nibble(data, index));
    case DType::kInt64: return static_cast<double>(load<int64_t>(data, index));
    case DType::kInt32: return load<int32_t>(data, index);
    case DType::kInt16: return load<int16_t>(data, index);
    case DType::kInt8: return load<int8_t>(data, index);
    case DType::kBool: return load<uint8_t>(data, index) != 0 ? 1 : 0;
  }
  throw std::logic_error("not a dtype");
}

void store_element(DType dtype, std::byte* data, int64_t index, double value) {
  switch (dtype) {
    case DType::kFloat32: return store(data, index, static_cast<float>(value));
    case DType::kFloat16: return store(data, index, static_cast<uint16_t>(encode<kFp16>(value)));
    case DType::kBFloat16: return store(data, index, static_cast<uint16_t>(encode<kBf16>(value)));
    case DType::kFloat8E4M3FN:
      return store(data, index, static_cast<uint8_t>(encode<kE4M3FN>(value)));
    case DType::kFloat8E5M2: return store(data, index, static_cast<uint8_t>(encode<kE5M2>(value)));
    case DType::kFloat4E2M1:
      return store_nibble(data, index, static_cast<uint8_t>(encode<kE2M1>(value)));
    case DType::kInt64: return store(data, index, round_to_integer<int64_t>(value));
    case DType::kInt32: return store(data, index, round_to_integer<int32_t>(value));
    case DType::kInt16: return store(data, index, round_to_integer<int16_t>(value));
    case DType::kInt8: return store(data, index, round_to_integer<int8_t>(value));
    case DType::kBool: return store(data, index, static_cast<uint8_t>(value != 0));
  }
  throw std::logic_error("not a dtype");
}

double round_to(DType dtype, double value) {
  std::array<std::byte, 8> storage{};
  store_element(dtype, storage.data(), 0, value);
  return load_element(dtype, storage.data(), 0);
}

void load_floats(DType dtype, const std::byte* data, int64_t first, std::span<float> out) {
  switch (dtype) {
    case DType::kFloat32:
      return load_all<float>(data, first, out, [](float value) { return value; });
    case DType::kFloat16:
      return load_all<uint16_t>(data, first, out, [](uint16_t bits) { return widen_fp16(bits); });
    case DType::kBFloat16:
      return load_all<uint16_t>(data, first, out, [](uint16_t bits) { return widen_bf16(bits); });
    case DType::kFloat8E4M3FN: return load_all<uint8_t>(data, first, out, fp8_e4m3fn_to_float);
    case DType::kFloat8E5M2: return load_all<uint8_t>(data, first, out, fp8_e5m2_to_float);
    case DType::kFloat4E2M1:
      for (size_t i = 0; i < out.size(); ++i)
        out[i] = fp4_e2m1_to_float(load_nibble(data, first + static_cast<int64_t>(i)));
      return;
    case DType::kInt64:
    case DType::kInt32:
    case DType::kInt16:
    case DType::kInt8:
    case DType::kBool:
      for (size_t i = 0; i < out.size(); ++i)
        out[i] = static_cast<float>(load_element(dtype, data, first + static_cast<int64_t>(i)));
      return;
  }
  throw std::logic_error("not a dtype");
}

}  // namespace fib
