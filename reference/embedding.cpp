// embedding: output[t] = weight[token_ids[t]].

#include <string>

#include "reference/call.h"
#include "reference/registry.h"

namespace fib {

Result<ReferenceOutputs> embedding_reference(const ReferenceCall& call) {
  const TensorSource* token_ids = FIB_TRY(need_input(call, "token_ids"));
  const TensorSource* weight = FIB_TRY(need_input(call, "weight"));
  const int64_t rows = weight->desc().shape[0], width = weight->desc().shape[1];
  const std::vector<int64_t> tokens = read_integers(*token_ids);
  for (size_t t = 0; t < tokens.size(); ++t) {
    if (tokens[t] < 0 || tokens[t] >= rows) {
      return fail(ErrorCode::kInvalidInput,
                  "token " + std::to_string(tokens[t]) + " of " + std::to_string(rows),
                  "token_ids[" + std::to_string(t) + "]");
    }
  }
  ReferenceOutputs outputs = make_outputs(call.problem);
  call.parallel_for(static_cast<int64_t>(tokens.size()), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      read_row(*weight, tokens[t],
               std::span<float>(&outputs[0][t * width], static_cast<size_t>(width)));
    }
  });
  return outputs;
}

}  // namespace fib
