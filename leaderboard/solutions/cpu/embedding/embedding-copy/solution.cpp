// embedding: output[t] = weight[token_ids[t]].
// token_ids [num_tokens] int32, weight [vocab_size, hidden_size] bf16
//   -> output [num_tokens, hidden_size] bf16.

#include <fib/cpu.h>

#include <cstring>

namespace {

constexpr int64_t kHidden = FIB_AXIS_hidden_size;

void copy_rows(int64_t begin, int64_t end, void* context) {
  const FibCall& call = *static_cast<const FibCall*>(context);
  const auto* tokens = static_cast<const int32_t*>(call.inputs[0].data);
  const auto* weight = static_cast<const uint16_t*>(call.inputs[1].data);
  auto* output = static_cast<uint16_t*>(call.outputs[0].data);
  for (int64_t t = begin; t < end; ++t)
    std::memcpy(output + t * kHidden, weight + tokens[t] * kHidden, kHidden * sizeof *output);
}

}  // namespace

extern "C" int fib_run(const FibCall* call) {
  constexpr int64_t kGrain = 1 + 64 * 1024 / (2 * kHidden);  // rows: 64 KiB a task
  call->parallel_for(call, call->inputs[0].shape[0], kGrain, copy_rows,
                     const_cast<FibCall*>(call));
  return 0;
}
