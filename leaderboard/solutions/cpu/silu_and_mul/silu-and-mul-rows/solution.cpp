// silu_and_mul: output = gate / (1 + exp(-gate)) * up.
// gate_up [num_tokens, 2 * intermediate_size] bf16, gate first
//   -> output [num_tokens, intermediate_size] bf16.

#include <fib/cpu.h>
#include <fib/cpu/bf16.h>

#include <algorithm>

namespace {

using namespace fib;

constexpr int64_t kWidth = FIB_AXIS_intermediate_size;
constexpr int64_t kBlock = 2048;  // columns a task: a microsecond of work
constexpr int64_t kBlocks = (kWidth + kBlock - 1) / kBlock;

void gate(const uint16_t* gate, const uint16_t* up, uint16_t* out, int64_t count) {
  const int64_t whole = count / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) store(out + i, silu(load(gate + i)) * load(up + i));
  if (whole == count) return;
  uint16_t edge[3][kLanes] = {};
  std::copy(gate + whole, gate + count, edge[0]);
  std::copy(up + whole, up + count, edge[1]);
  store(edge[2], silu(load(edge[0])) * load(edge[1]));
  std::copy_n(edge[2], count - whole, out + whole);
}

// Tasks: num_tokens * kBlocks.
void blocks(int64_t begin, int64_t end, void* context) {
  const FibCall& call = *static_cast<const FibCall*>(context);
  const auto* gate_up = static_cast<const uint16_t*>(call.inputs[0].data);
  auto* output = static_cast<uint16_t*>(call.outputs[0].data);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t row = task / kBlocks, column = task % kBlocks * kBlock;
    const uint16_t* from = gate_up + row * 2 * kWidth + column;
    gate(from, from + kWidth, output + row * kWidth + column, std::min(kBlock, kWidth - column));
  }
}

}  // namespace

extern "C" int fib_run(const FibCall* call) {
  constexpr int64_t kGrain = 1 + 8192 / std::min(kBlock, kWidth);
  call->parallel_for(call, call->inputs[0].shape[0] * kBlocks, kGrain, blocks,
                     const_cast<FibCall*>(call));
  return 0;
}
