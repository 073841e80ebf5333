#pragma once

// Bounds of integer inputs, loaded or made: nothing that a kernel would use as an address gets
// past these.

#include <cstdint>
#include <span>
#include <string>

#include "signatures/base/result.h"

namespace fib {

struct IndexTensor {
  std::string name;
  std::string where;  // of the workload, for errors: "file.jsonl:12"
  std::span<const int64_t> values;
};

// Each error names tensor, position and value.
Result<void> check_indptr(const IndexTensor& tensor, int64_t total, const std::string& total_axis);
Result<void> check_in_range(const IndexTensor& tensor, int64_t low, int64_t high,
                            const std::string& meaning);  // low..high inclusive
// No value twice within a row of `width`.
Result<void> check_distinct(const IndexTensor& tensor, int64_t width);

}  // namespace fib
