#include "integrations/package/kernel.h"

#include <algorithm>
#include <stdexcept>

namespace fib {

Operand Operand::tensor(std::byte* data, std::initializer_list<int64_t> shape) {
  if (shape.size() > kMaxRank) throw std::logic_error("an operand of more than five dimensions");
  Operand operand;
  operand.data = data;
  operand.rank = static_cast<int>(shape.size());
  std::copy(shape.begin(), shape.end(), operand.shape.begin());
  return operand;
}

Operand Operand::tensor(const DeviceArray& array, std::initializer_list<int64_t> shape) {
  return tensor(array.data(), shape);
}

Operand Operand::value(double scalar) {
  Operand operand;
  operand.scalar = scalar;
  return operand;
}

}  // namespace fib
