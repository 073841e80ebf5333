#include "integrations/serving/model/computed_integers.h"

#include <stdexcept>

namespace fib {
namespace {

constexpr size_t kPlaceAlignment = 256;  // as an allocation of its own would have

size_t place_bytes(size_t integers) {
  const size_t bytes = integers * sizeof(int32_t);
  return (bytes + kPlaceAlignment - 1) / kPlaceAlignment * kPlaceAlignment;
}

}  // namespace

Result<ComputedIntegers> ComputedIntegers::create(ServingDevice& device, size_t calls,
                                                  size_t max_integers) {
  ComputedIntegers integers;
  const size_t bytes = calls * place_bytes(max_integers);
  integers.values_ = FIB_TRY(device.allocate(bytes));
  if (device.info().target != "cpu") integers.host_values_ = FIB_TRY(device.allocate_host(bytes));
  return integers;
}

Operand ComputedIntegers::take(int64_t rows, int64_t columns) {
  const size_t offset = used_bytes_;
  used_bytes_ += place_bytes(static_cast<size_t>(rows * columns));
  if (used_bytes_ > values_.bytes()) throw std::logic_error("a step computes more integers");
  Operand place = Operand::tensor(values_.data() + offset, {rows, columns});
  if (host_values_.bytes() > 0) place.host_at_end = host_values_.data() + offset;
  return place;
}

Result<void> ComputedIntegers::download(ServingDevice& device, size_t bytes) const {
  if (bytes == 0 || host_values_.bytes() == 0) return {};
  return device.download(host_values_.data(), values_.data(), bytes);
}

}  // namespace fib
