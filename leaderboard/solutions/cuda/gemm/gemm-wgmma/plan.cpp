#include <fib/plan.h>

#include "shape.h"

namespace {

struct Tile {
  int tokens;
  const char* kernel;
};
constexpr Tile kTiles[] = {{8, "gemm<8>"},   {16, "gemm<16>"},   {32, "gemm<32>"},
                           {64, "gemm<64>"}, {128, "gemm<128>"}, {256, "gemm<256>"}};

struct Choice {
  Tile tile;
  int64_t shares = 1;
  int64_t tiles = 0;
  int64_t cost = 0;
};

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// In units of a step's time a token: below 64 tokens a step waits for memory, not for arithmetic.
int64_t cost_of(int64_t tokens, int64_t tiles, int64_t shares, int64_t steps, int64_t places) {
  constexpr int64_t kFixed = 500;  // filling the ring, storing the tile
  constexpr int64_t kSharing = 300;
  const int64_t step = tokens < 64 ? 64 : tokens;
  return divide_up(tiles * shares, places) * (divide_up(steps, shares) * step + kFixed) +
         (shares > 1 ? kSharing + tokens * 4 : 0);
}

Choice choose(int64_t m, int64_t n, int64_t k, int multiprocessors) {
  Choice best;
  for (const Tile& tile : kTiles) {
    if (tile.tokens < 128 && tile.tokens < m) continue;  // B would be read more than once
    const int64_t tiles = divide_up(m, tile.tokens) * divide_up(n, kBlockColumns);
    for (int64_t shares = 1; shares <= 8; shares *= 2) {
      if (shares > 1 && tiles * shares > multiprocessors) continue;
      const int64_t cost = cost_of(tile.tokens, tiles, shares, divide_up(k, kDepth),
                                   multiprocessors);
      if (best.tiles == 0 || cost < best.cost) best = {tile, shares, tiles, cost};
    }
  }
  return best;
}

fib::PlanTensorMap map_rows(fib::PlanPointer base, int64_t rows, int64_t k, int box_rows) {
  fib::PlanTensorMap map = {};
  map.base = base;
  map.dtype = 6;  // CU_TENSOR_MAP_DATA_TYPE_FLOAT16
  map.rank = 2;
  map.size[0] = static_cast<uint64_t>(k);
  map.size[1] = static_cast<uint64_t>(rows);
  map.stride_bytes[0] = static_cast<uint64_t>(k) * 2;
  map.box[0] = kDepth;
  map.box[1] = static_cast<uint32_t>(box_rows);
  map.element_stride[0] = map.element_stride[1] = 1;
  map.swizzle = 3;       // CU_TENSOR_MAP_SWIZZLE_128B
  map.l2_promotion = 3;  // CU_TENSOR_MAP_L2_PROMOTION_L2_256B
  return map;
}

void plan_gemm(const fib::PlanProblem& problem, fib::Plan& plan) {
  const int64_t m = problem.axis("M"), n = problem.axis("N"), k = problem.axis("K");
  if (m == 0) return;
  if (k % 8 != 0) return plan.fail("K must be a multiple of 8: the copy engine's rows are 16 bytes");
  const int multiprocessors = problem.device().multiprocessors;
  const Choice choice = choose(m, n, k, multiprocessors);
  const int64_t blocks = choice.tiles < multiprocessors ? choice.tiles : multiprocessors;
  plan.launch(choice.tile.kernel)
      .grid(blocks, 1, choice.shares)
      .block(kThreads)
      .cluster(1, 1, choice.shares)
      .shared_bytes(shared_bytes(choice.tile.tokens))
      .arg(map_rows(problem.input("A"), m, k, choice.tile.tokens))
      .arg(map_rows(problem.input("B"), n, k, kBlockColumns))
      .arg(problem.output("C"))
      .arg(static_cast<int32_t>(m))
      .arg(int32_t{16})
      .arg(static_cast<int32_t>(divide_up(divide_up(k, kDepth), choice.shares)));
}

}  // namespace

FIB_EXPORT_PLAN(plan_gemm)
