// C = A * B^T: a [m, K] and b [N, K] fp16, c [m, N] fp16.

#include "shape.h"

// Grid: tiles of C, by the blocks that share K.
template <fib::ProductTile kTile>
__global__ void __launch_bounds__(Gemm::threads(kTile), Gemm::blocks(kTile))
    gemm(const fib::Fp16* a, const fib::Fp16* b, fib::Fp16* c, int m, int k_share) {
  Gemm::compute<kTile>(a, b, c, m, k_share);
}
