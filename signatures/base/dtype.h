#pragma once

// Element types of tensors, by the FlashInfer-Trace names, and exact scalar conversions.
// All narrowing conversions round to nearest, ties to even; fp8/fp4 saturate to the largest
// finite value (e4m3fn and e2m1 have no infinity) and NaN stays NaN where the format has one.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace fib {

enum class DType : uint8_t {
  kFloat32,
  kFloat16,
  kBFloat16,
  kFloat8E4M3FN,
  kFloat8E5M2,
  kFloat4E2M1,  // two values a byte, low nibble first
  kInt64,
  kInt32,
  kInt16,
  kInt8,
  kBool,
};
inline constexpr int kDTypeCount = 11;

std::string_view dtype_name(DType dtype);                       // "bfloat16"
std::optional<DType> dtype_from_name(std::string_view name);    // exact names only
std::string_view dtype_safetensors_name(DType dtype);           // "BF16"
std::optional<DType> dtype_from_safetensors_name(std::string_view name);

bool is_floating(DType dtype);
bool is_integer(DType dtype);  // int64, int32, int16, int8 (not bool)
int bits_of(DType dtype);      // 4 for float4_e2m1

// Bytes that `count` elements take (float4 rounds up to whole bytes).
size_t storage_bytes(DType dtype, int64_t count);

// Largest relative rounding error of the type: half the distance from 1.0 to the next value
// (2^-8 for bfloat16, 2^-24 for float32); 0 for integers.
double unit_roundoff(DType dtype);

float bf16_to_float(uint16_t bits);
uint16_t float_to_bf16(float value);
float fp16_to_float(uint16_t bits);
uint16_t float_to_fp16(float value);
float fp8_e4m3fn_to_float(uint8_t bits);
uint8_t float_to_fp8_e4m3fn(float value);
float fp8_e5m2_to_float(uint8_t bits);
uint8_t float_to_fp8_e5m2(float value);
float fp4_e2m1_to_float(uint8_t nibble);  // low four bits used
uint8_t float_to_fp4_e2m1(float value);

// compressed-tensors `pack-quantized` int4: q in [-8, 7] is stored as q + 8; bits 4i..4i+3 of the
// word hold element i. Source: facts/models.md of the design, section "INT4 experts".
std::array<int8_t, 8> unpack_int4(uint32_t word);
uint32_t pack_int4(const std::array<int8_t, 8>& values);

// Element `index` of a packed buffer as a double (exact for every dtype but int64 beyond 2^53).
double load_element(DType dtype, const std::byte* data, int64_t index);
// Rounds `value` into element `index`. Integers saturate.
void store_element(DType dtype, std::byte* data, int64_t index, double value);

// Rounds a value to `dtype` and back: what storing it would do.
double round_to(DType dtype, double value);

// Bulk versions, for loops where load_element would dominate.
void load_floats(DType dtype, const std::byte* data, int64_t first, std::span<float> out);

}  // namespace fib
