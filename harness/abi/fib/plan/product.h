#pragma once

// Launch plans of <fib/device/product.h>:
//
//   #include <fib/plan/product.h>
//   #include "shape.h"  // using Gemm = fib::Product<...>
//
//   static void plan_gemm(const fib::PlanProblem& problem, fib::Plan& plan) {
//     fib::plan_product<Gemm>(problem, plan);
//   }
//
// The kernel is called `gemm` and has the tile as its parameter; the manifest lists it with each.
// The problem has an axis M, the inputs A [M, K] and B [N, K], and the output C [M, N].

#include <fib/device/product.h>
#include <fib/plan.h>

namespace fib {

inline const char* product_kernel(ProductTile tile) {
  switch (tile) {
    case ProductTile::k16x64:
      return "gemm<fib::ProductTile::k16x64>";
    case ProductTile::k32x64:
      return "gemm<fib::ProductTile::k32x64>";
    case ProductTile::k64x64:
      return "gemm<fib::ProductTile::k64x64>";
    case ProductTile::k128x128:
      return "gemm<fib::ProductTile::k128x128>";
    case ProductTile::k128x256:
      break;
  }
  return "gemm<fib::ProductTile::k128x256>";
}

inline int64_t product_tiles(const ProductTiling& tiling, int64_t m, int64_t n) {
  return (m + tiling.rows - 1) / tiling.rows * ((n + tiling.columns - 1) / tiling.columns);
}

// The tile follows the rows of A; the largest only where it still makes a few rounds of blocks.
inline ProductTile choose_product_tile(int64_t m, int64_t n, int multiprocessors) {
  if (m <= 16) return ProductTile::k16x64;
  if (m <= 32) return ProductTile::k32x64;
  const int64_t tiles = product_tiles(tiling_of(ProductTile::k128x128), m, n);
  if (m <= 64 || tiles * 8 < multiprocessors) return ProductTile::k64x64;
  const int64_t large = product_tiles(tiling_of(ProductTile::k128x256), m, n);
  return large < 4 * multiprocessors ? ProductTile::k128x128 : ProductTile::k128x256;
}

// How many blocks share K: 1, 2, 4 or 8. More while the device is not full and each still has a
// few steps to go.
inline int64_t choose_product_shares(const ProductTiling& tiling, int64_t tiles, int64_t k,
                                     int multiprocessors) {
  const int64_t places = int64_t{multiprocessors} * tiling.blocks;
  const int64_t steps = (k + tiling.depth - 1) / tiling.depth;
  int64_t shares = 1;
  while (shares < 8 && tiles * shares * 2 <= places && steps / (shares * 2) >= 4) shares *= 2;
  return shares;
}

// Gemm: a fib::Product.
template <class Gemm>
void plan_product(const PlanProblem& problem, Plan& plan) {
  const int64_t m = problem.axis("M"), n = Gemm::kN, k = Gemm::kK;
  if (m == 0) return;
  const int multiprocessors = problem.device().multiprocessors;
  const ProductTile tile = choose_product_tile(m, n, multiprocessors);
  const ProductTiling tiling = tiling_of(tile);
  const int64_t tiles = product_tiles(tiling, m, n);
  const int64_t shares = choose_product_shares(tiling, tiles, k, multiprocessors);
  const int64_t steps = (k + tiling.depth - 1) / tiling.depth;
  plan.launch(product_kernel(tile))
      .grid(tiles, 1, shares)
      .block(tiling.threads())
      .cluster(1, 1, shares)
      .shared_bytes(tiling.shared_bytes())
      .programmatic()
      .arg(problem.input("A"))
      .arg(problem.input("B"))
      .arg(problem.output("C"))
      .arg(static_cast<int32_t>(m))
      .arg(static_cast<int32_t>((steps + shares - 1) / shares * tiling.depth));
}

}  // namespace fib
