#include "workloads/index_checks.h"

#include <fmt/format.h>

#include <unordered_set>

namespace fib {
namespace {

Failure refuse(const IndexTensor& tensor, size_t position, std::string message) {
  return fail(ErrorCode::kInvalidInput,
              fmt::format("{}[{}] is {}, {}", tensor.name, position, tensor.values[position],
                          std::move(message)),
              tensor.where);
}

}  // namespace

Result<void> check_indptr(const IndexTensor& tensor, int64_t total, const std::string& total_axis) {
  const std::span<const int64_t> values = tensor.values;
  if (values.empty()) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("{} is empty; offsets of n requests are n + 1 numbers", tensor.name),
                tensor.where);
  }
  if (values[0] != 0) return refuse(tensor, 0, "but offsets start at 0");
  for (size_t i = 1; i < values.size(); ++i) {
    if (values[i] < values[i - 1]) {
      return refuse(tensor, i, fmt::format("less than {} before it", values[i - 1]));
    }
  }
  if (values.back() != total) {
    return refuse(tensor, values.size() - 1, fmt::format("but {} is {}", total_axis, total));
  }
  return {};
}

Result<void> check_in_range(const IndexTensor& tensor, int64_t low, int64_t high,
                            const std::string& meaning) {
  for (size_t i = 0; i < tensor.values.size(); ++i) {
    if (tensor.values[i] < low || tensor.values[i] > high) {
      return refuse(tensor, i, fmt::format("outside {}..{} ({})", low, high, meaning));
    }
  }
  return {};
}

Result<void> check_distinct(const IndexTensor& tensor, int64_t width) {
  std::unordered_set<int64_t> seen;
  for (size_t i = 0; i < tensor.values.size(); ++i) {
    if (i % static_cast<size_t>(width) == 0) seen.clear();
    if (!seen.insert(tensor.values[i]).second) {
      return refuse(tensor, i, "a second time in its row");
    }
  }
  return {};
}

}  // namespace fib
