#include <fib/plan.h>

#include "shape.h"

namespace {

struct Choice {
  const char* kernel;
  Tiling tiling;
};

int64_t tiles_of(const Tiling& tiling, int64_t m, int64_t n) {
  return (m + tiling.rows - 1) / tiling.rows * ((n + tiling.columns - 1) / tiling.columns);
}

// The tile follows the rows of A; the largest only where it still makes a few rounds of blocks.
Choice choose_tiling(int64_t m, int64_t n, int multiprocessors) {
  if (m <= 16) return {"gemm<k16>", tiling_of(k16)};
  if (m <= 32) return {"gemm<k32>", tiling_of(k32)};
  if (m <= 64 || tiles_of(tiling_of(k128), m, n) * 8 < multiprocessors) {
    return {"gemm<k64>", tiling_of(k64)};
  }
  if (tiles_of(tiling_of(k256), m, n) < 4 * multiprocessors) {
    return {"gemm<k128>", tiling_of(k128)};
  }
  return {"gemm<k256>", tiling_of(k256)};
}

// How many blocks share K: 1, 2, 4 or 8. More while the device is not full and each still has a
// few steps to go.
int64_t choose_shares(const Tiling& tiling, int64_t tiles, int64_t k, int multiprocessors) {
  const int64_t places = int64_t{multiprocessors} * tiling.blocks;
  const int64_t steps = (k + tiling.depth - 1) / tiling.depth;
  int64_t shares = 1;
  while (shares < 8 && tiles * shares * 2 <= places && steps / (shares * 2) >= 4) shares *= 2;
  return shares;
}

void plan_gemm(const fib::PlanProblem& problem, fib::Plan& plan) {
  const int64_t m = problem.axis("M"), n = problem.axis("N"), k = problem.axis("K");
  if (m == 0) return;
  if (k % 8 != 0) return plan.fail("K must be a multiple of 8");
  const int multiprocessors = problem.device().multiprocessors;
  const Choice choice = choose_tiling(m, n, multiprocessors);
  const Tiling& tiling = choice.tiling;
  const int64_t tiles = tiles_of(tiling, m, n);
  const int64_t shares = choose_shares(tiling, tiles, k, multiprocessors);
  const int64_t steps = (k + tiling.depth - 1) / tiling.depth;
  plan.launch(choice.kernel)
      .grid(tiles, 1, shares)
      .block(tiling.threads())
      .cluster(1, 1, shares)
      .shared_bytes(tiling.shared_bytes())
      .arg(problem.input("A"))
      .arg(problem.input("B"))
      .arg(problem.output("C"))
      .arg(static_cast<int32_t>(m))
      .arg(int32_t{8})
      .arg(static_cast<int32_t>((steps + shares - 1) / shares * tiling.depth));
}

}  // namespace

FIB_EXPORT_PLAN(plan_gemm)
