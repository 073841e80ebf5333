// argmax: the lowest index among the largest elements of each row. Comparing float32 values rounds
// nothing, so both precisions are one.

#include <algorithm>

#include "reference/call.h"
#include "reference/registry.h"

namespace fib {

Result<ReferenceOutputs> argmax_reference(const ReferenceCall& call) {
  const TensorSource* logits = FIB_TRY(need_input(call, "logits"));
  ReferenceOutputs outputs = make_outputs(call.problem);
  call.parallel_for(logits->desc().shape[0], [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(logits->desc().shape[1]));
    for (int64_t r = begin; r < end; ++r) {
      read_row(*logits, r, std::span<float>(row));
      const auto largest = std::max_element(row.begin(), row.end());  // the first of equals
      outputs[0][r] = static_cast<float>(largest - row.begin());      // exact below 2^24
    }
  });
  return outputs;
}

}  // namespace fib
