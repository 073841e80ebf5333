#include <fib/plan.h>

#include "shape.h"

namespace {

struct Tiling {
  const char *gate_up, *down;
  int tokens;
};
constexpr Tiling kTilings[] = {{"product<kGateUp, 32>", "product<kDown, 32>", 32},
                               {"product<kGateUp, 64>", "product<kDown, 64>", 64},
                               {"product<kGateUp, 128>", "product<kDown, 128>", 128}};

// By the mean number of tokens an expert has. The routing itself is known only on the device.
const Tiling& choose_tiling(int64_t pairs) {
  for (const Tiling& tiling : kTilings) {
    if (tiling.tokens == MOE_TILE_TOKENS) return tiling;
  }
  if (pairs <= 20 * kExperts) return kTilings[0];
  return pairs <= 40 * kExperts ? kTilings[1] : kTilings[2];
}

struct Lists {  // what `prepare` writes
  fib::PlanPointer tile_count, tile_experts, tile_pairs;
};

void launch_product(Product product, const Tiling& tiling, int64_t max_tiles,
                    const fib::PlanProblem& problem, fib::Plan& plan, const Lists& lists,
                    fib::PlanPointer activations, fib::PlanPointer output) {
  const bool is_first = product == kGateUp;
  const int64_t tiles = max_tiles * row_blocks(product);
  const int64_t places = problem.device().multiprocessors;
  plan.launch(is_first ? tiling.gate_up : tiling.down)
      .grid(tiles < places ? tiles : places)
      .block(kProductThreads)
      .shared_bytes(shared_bytes(tiling.tokens))
      .programmatic()
      .arg(activations)
      .arg(problem.input(is_first ? "w13_packed" : "w2_packed"))
      .arg(problem.input(is_first ? "w13_scale" : "w2_scale"))
      .arg(lists.tile_count)
      .arg(lists.tile_experts)
      .arg(lists.tile_pairs)
      .arg(output);
}

void plan_moe(const fib::PlanProblem& problem, fib::Plan& plan) {
  const int64_t tokens = problem.axis("num_tokens");
  if (tokens == 0) return;
  const int64_t pairs = tokens * kTopK;
  if (pairs > 1 << 24) return plan.fail("more than 2^24 (token, expert) pairs");
  const Tiling& tiling = choose_tiling(pairs);
  // Every expert that was chosen may have one tile that is not full.
  const int64_t max_tiles = (pairs < kExperts ? pairs : int64_t{kExperts}) + pairs / tiling.tokens;
  const Lists lists = {plan.workspace(4), plan.workspace(max_tiles * 4),
                       plan.workspace(max_tiles * tiling.tokens * 4)};
  const fib::PlanPointer reordered = plan.workspace(tokens * kHidden * 2);
  const fib::PlanPointer activated = plan.workspace(pairs * kIntermediate * 2);
  const fib::PlanPointer partial = plan.workspace(pairs * kHidden * kPartialBytes);

  const int64_t reordering = (tokens * kHidden / 8 + kPrepareThreads - 1) / kPrepareThreads;
  const int64_t places = 2 * int64_t{problem.device().multiprocessors} - 1;
  plan.launch("prepare")
      .grid(1 + (reordering < places ? reordering : places))
      .block(kPrepareThreads)
      .programmatic()
      .arg(problem.input("topk_ids"))
      .arg(lists.tile_count)
      .arg(lists.tile_experts)
      .arg(lists.tile_pairs)
      .arg(static_cast<int32_t>(pairs))
      .arg(static_cast<int32_t>(tiling.tokens))
      .arg(problem.input("hidden_states"))
      .arg(reordered);
  launch_product(kGateUp, tiling, max_tiles, problem, plan, lists, reordered, activated);
  launch_product(kDown, tiling, max_tiles, problem, plan, lists, activated, partial);
  plan.launch("combine")
      .grid((tokens * kHidden / 4 + 255) / 256)
      .block(256)
      .programmatic()
      .arg(partial)
      .arg(problem.input("topk_ids"))
      .arg(problem.input("topk_weights"))
      .arg(problem.output("output"))
      .arg(static_cast<int32_t>(tokens));
}

}  // namespace

FIB_EXPORT_PLAN(plan_moe)
