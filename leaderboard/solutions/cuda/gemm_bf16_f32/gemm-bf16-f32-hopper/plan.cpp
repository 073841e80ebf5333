#include <fib/plan.h>

#include "shape.h"

namespace {

struct Tile {
  int tokens;
  const char* kernel;
};
constexpr Tile kTiles[] = {{64, "tiled<64>"}, {128, "tiled<128>"}, {256, "tiled<256>"}};

struct Choice {
  Tile tile;
  int64_t shares = 1;
  int64_t tiles = 0;  // 0: none yet
  int64_t cost = 0;
};

// Up to two launches: the rows that fill whole rounds of blocks, and those left over.
struct Split {
  int64_t first_rows = 0;
  Choice first, second;
};

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Nanoseconds, fitted to an H100: what a step costs a block with operands from L2, what filling the
// ring, storing the tile and launching cost, and what a cluster adds.
int64_t cost_of(int64_t tokens, int64_t tiles, int64_t shares, int64_t steps, int64_t places) {
  const int64_t step = 290 + tokens * 13 / 8;
  return divide_up(tiles * shares, places) * (divide_up(steps, shares) * step + 3200) +
         (shares > 1 ? 4000 : 0);
}

// Blocks that run at once in clusters of `shares`. A cluster stays within one of the device's
// groups of multiprocessors, whose sizes a plan isn't told: large clusters leave some unused.
int64_t places_of(int64_t shares, int64_t multiprocessors) {
  if (shares <= 2) return multiprocessors;
  return shares == 4 ? multiprocessors * 10 / 11 : multiprocessors * 3 / 4;
}

Choice choose(int64_t m, int64_t n, int64_t k, int multiprocessors) {
  Choice best;
  for (const Tile& tile : kTiles) {
    const int64_t tiles = divide_up(m, tile.tokens) * divide_up(n, kBlockColumns);
    const int64_t max_shares = tile.tokens <= 128 ? 8 : 1;
    for (int64_t shares = 1; shares <= max_shares; shares *= 2) {
      if (shares > 1 && tiles * shares > places_of(shares, multiprocessors)) continue;
      const int64_t work =
          cost_of(tile.tokens, tiles, shares, divide_up(k, kDepth), multiprocessors);
      const int64_t reading_b = n * k * 2 / 2600;  // at 2.6 TB/s
      const int64_t cost = work > reading_b ? work : reading_b;
      if (best.tiles == 0 || cost < best.cost) best = {tile, shares, tiles, cost};
    }
  }
  return best;
}

fib::PlanTensorMap map_rows(fib::PlanPointer base, int64_t rows, int64_t k, int box_rows) {
  fib::PlanTensorMap map = {};
  map.base = base;
  map.dtype = 9;  // CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
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

// Rows that don't fill a round of blocks with large tiles may be cheaper by themselves.
Split choose_split(int64_t m, int64_t n, int64_t k, int multiprocessors) {
  Split best = {m, choose(m, n, k, multiprocessors), {}};
  int64_t best_cost = best.first.cost;
  for (int64_t rows = 256; rows < m; rows += 256) {
    const Choice first = choose(rows, n, k, multiprocessors);
    const Choice second = choose(m - rows, n, k, multiprocessors);
    if (first.cost + second.cost < best_cost) {
      best = {rows, first, second};
      best_cost = first.cost + second.cost;
    }
  }
  return best;
}

void launch_tiled(const fib::PlanProblem& problem, fib::Plan& plan, const Choice& choice,
                  int64_t first_row, int64_t rows) {
  const int64_t n = problem.axis("N"), k = problem.axis("K");
  const int64_t multiprocessors = problem.device().multiprocessors;
  const int64_t blocks = choice.tiles < multiprocessors ? choice.tiles : multiprocessors;
  plan.launch(choice.tile.kernel)
      .grid(blocks, 1, choice.shares)
      .block(kTiledThreads)
      .cluster(1, 1, choice.shares)
      .shared_bytes(tile_shared_bytes(choice.tile.tokens))
      .programmatic()
      .arg(map_rows(problem.input("A") + first_row * k * 2, rows, k, choice.tile.tokens))
      .arg(map_rows(problem.input("B"), n, k, kBlockColumns))
      .arg(problem.output("C") + first_row * n * kOutputBytes)
      .arg(static_cast<int32_t>(rows))
      .arg(int32_t{16})  // row tiles in a group
      .arg(static_cast<int32_t>(divide_up(divide_up(k, kDepth), choice.shares)));
}

void launch_stream(const fib::PlanProblem& problem, fib::Plan& plan) {
  const int64_t m = problem.axis("M"), n = problem.axis("N"), k = problem.axis("K");
  const int64_t multiprocessors = problem.device().multiprocessors, places = 2 * multiprocessors;
  using Shape = Streamed<16, 8>;
  const int64_t tiles = divide_up(n, 16), steps = divide_up(k, Shape::kStep);
  // Blocks on half the multiprocessors already draw most of the bandwidth; clusters of more than
  // four don't find places everywhere.
  int64_t shares = 1;
  while (shares < 4 && tiles * shares * 2 <= multiprocessors && shares * 2 <= steps) shares *= 2;
  plan.launch("stream<16, 8>")
      .grid(tiles < places ? tiles : places, 1, shares)
      .block(fib::kStreamThreads)
      .cluster(1, 1, shares)
      .shared_bytes(Shape::kSharedBytes)
      .programmatic()
      .arg(problem.input("A"))
      .arg(problem.input("B"))
      .arg(problem.output("C"))
      .arg(static_cast<int32_t>(m))
      .arg(static_cast<int32_t>(divide_up(steps, shares) * Shape::kStep));
}

void plan_gemm(const fib::PlanProblem& problem, fib::Plan& plan) {
  const int64_t m = problem.axis("M"), n = problem.axis("N"), k = problem.axis("K");
  if (m == 0) return;
  if (k % 8 != 0)
    return plan.fail("K must be a multiple of 8: rows are copied in pieces of 16 bytes");
  const int multiprocessors = problem.device().multiprocessors;
  // Measured on an H100: more rows, or a B that keeps all multiprocessors busy anyway, are faster
  // through the tiled kernel (9 to 64 rows by a factor of 2, an LM head's B by 1.5).
  const bool is_streamed = m <= 8 && n <= 64 * 2 * int64_t{multiprocessors};
  if (k % 16 == 0 && is_streamed) return launch_stream(problem, plan);
  const Split split = choose_split(m, n, k, multiprocessors);
  launch_tiled(problem, plan, split.first, 0, split.first_rows);
  if (split.first_rows < m) {
    launch_tiled(problem, plan, split.second, split.first_rows, m - split.first_rows);
  }
}

}  // namespace

FIB_EXPORT_PLAN(plan_gemm)
