#pragma once

// Finding the inputs of a ReferenceCall by name, and reading them by rows.

#include <algorithm>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "reference/reference.h"

namespace fib {

// nullptr where the signature has no such input.
const TensorSource* find_input(const ReferenceCall& call, std::string_view name);
// An error (kUnsupported) that names signature and input.
Result<const TensorSource*> need_input(const ReferenceCall& call, std::string_view name);

// All elements of an integer input.
std::vector<int64_t> read_integers(const TensorSource& source);

// Runs of `width` consecutive elements: row `row` of the tensor seen as [.., width].
template <class Real>
void read_row(const TensorSource& source, int64_t row, std::span<Real> out) {
  const auto width = static_cast<int64_t>(out.size());
  if constexpr (std::is_same_v<Real, float>) {
    source.read(row * width, out);
  } else {
    std::vector<float> values(out.size());
    source.read(row * width, std::span<float>(values));
    std::copy(values.begin(), values.end(), out.begin());
  }
}

// Zeroed outputs of the problem's shapes.
ReferenceOutputs make_outputs(const Problem& problem);

}  // namespace fib
