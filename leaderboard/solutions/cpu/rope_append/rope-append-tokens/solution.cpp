// rope_append, a token a task: each head is turned and stored from registers.

#include <fib/cpu.h>
#include <fib/cpu/rope.h>

namespace {

using Step = fib::RopeAppend<FIB_AXIS_num_qo_heads, FIB_AXIS_num_kv_heads, FIB_AXIS_head_dim>;

void tokens(int64_t begin, int64_t end, void* context) {
  const FibCall& call = *static_cast<const FibCall*>(context);
  const auto input = [&call](int i) { return call.inputs[i].data; };
  const Step step = {.qkv = static_cast<const uint16_t*>(input(0)),
                     .q_weight = nullptr,
                     .k_weight = nullptr,
                     .eps = 0.0f,
                     .cos_sin = static_cast<const float*>(input(1)),
                     .positions = static_cast<const int32_t*>(input(2)),
                     .slots = static_cast<const int32_t*>(input(3)),
                     .q = static_cast<uint16_t*>(call.outputs[0].data),
                     .k_cache = static_cast<uint16_t*>(call.outputs[1].data),
                     .v_cache = static_cast<uint16_t*>(call.outputs[2].data)};
  for (int64_t token = begin; token < end; ++token) step.run(token);
}

}  // namespace

extern "C" int fib_run(const FibCall* call) {
  // Waking a thread costs more than a few heads do: at least 32 KiB of input a task.
  constexpr int64_t kTokenBytes = 2 * FIB_AXIS_qkv_size;
  constexpr int64_t kGrain = (32 * 1024 + kTokenBytes - 1) / kTokenBytes;
  call->parallel_for(call, call->inputs[0].shape[0], kGrain, tokens, const_cast<FibCall*>(call));
  return 0;
}
