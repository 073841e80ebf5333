// Rows of a table by token.

#include <fib/device/launch.h>
#include <fib/device/vector.h>

#include "shape.h"

using fib::Bf16;

// token_ids [tokens] int32, weight [kVocabulary, kHidden] bf16, output [tokens, kHidden] bf16.
// A thread an access of the output. An id outside the vocabulary gives zeros.
__global__ void __launch_bounds__(kThreads)
    embed(const int* token_ids, const Bf16* __restrict__ weight, Bf16* output, int tokens) {
  fib::let_next_kernel_start();
  fib::wait_for_previous_kernel();
  const size_t at = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x;
  const size_t token = at / kVectors;
  if (token >= tokens) return;
  const unsigned id = token_ids[token];
  fib::Pack<Bf16, kWidth> row = {};
  if (id < kVocabulary) {
    row = fib::load<Bf16, kWidth>(weight + static_cast<size_t>(id) * kHidden +
                                  at % kVectors * kWidth);
  }
  fib::store<Bf16, kWidth>(output + at * kWidth, row);
}
