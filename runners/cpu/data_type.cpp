#include "runners/cpu/data_type.h"

#include <stdexcept>

namespace fib {

FibDataType data_type(DType dtype) {
  const auto bits = static_cast<uint8_t>(bits_of(dtype));
  switch (dtype) {
    case DType::kFloat32:
    case DType::kFloat16: return {FIB_FLOAT, bits, 1};
    case DType::kBFloat16: return {FIB_BFLOAT, bits, 1};
    case DType::kFloat8E4M3FN: return {FIB_FLOAT8_E4M3FN, bits, 1};
    case DType::kFloat8E5M2: return {FIB_FLOAT8_E5M2, bits, 1};
    case DType::kFloat4E2M1: return {FIB_FLOAT4_E2M1FN, bits, 1};
    case DType::kInt64:
    case DType::kInt32:
    case DType::kInt16:
    case DType::kInt8: return {FIB_INT, bits, 1};
    case DType::kBool: return {FIB_BOOL, 8, 1};
  }
  throw std::logic_error("a dtype without a DLPack code");
}

}  // namespace fib
