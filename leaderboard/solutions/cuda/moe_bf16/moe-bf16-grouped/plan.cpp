#include <fib/plan.h>

#include "shape.h"

namespace {

struct Tiling {
  int tokens, rows;
  int64_t shared_bytes;
  const char* gate_up;
  const char* down;
};
template <int kTokens>
constexpr Tiling tiling_of(const char* gate_up, const char* down) {
  return {kTokens, block_rows(kTokens), Streamed<kTokens>::kSharedBytes, gate_up, down};
}

// By the mean number of tokens an expert has. The routing itself is known only on the device.
Tiling choose_tiling(int64_t pairs) {
  if (pairs <= 4 * kExperts) return tiling_of<8>("product<kGateUp, 8>", "product<kDown, 8>");
  if (pairs <= 10 * kExperts) return tiling_of<16>("product<kGateUp, 16>", "product<kDown, 16>");
  if (pairs <= 24 * kExperts) return tiling_of<32>("product<kGateUp, 32>", "product<kDown, 32>");
  return tiling_of<64>("product<kGateUp, 64>", "product<kDown, 64>");
}

struct Lists {  // what `route` writes
  fib::PlanPointer tile_count, tile_experts, tile_pairs;
};

void launch_product(const Tiling& tiling, Product which, int64_t max_tiles,
                    const fib::PlanProblem& problem, fib::Plan& plan, const Lists& lists,
                    fib::PlanPointer activations, fib::PlanPointer output) {
  const bool is_first = which == kGateUp;
  const int64_t places = 2 * int64_t{problem.device().multiprocessors};
  const int64_t tiles = max_tiles * row_blocks(which, tiling.tokens);
  plan.launch(is_first ? tiling.gate_up : tiling.down)
      .grid(tiles < places ? tiles : places)
      .block(fib::kStreamThreads)
      .shared_bytes(tiling.shared_bytes)
      .programmatic()
      .arg(activations)
      .arg(problem.input(is_first ? "w13" : "w2"))
      .arg(problem.input("topk_ids"))
      .arg(static_cast<int32_t>(problem.axis("num_tokens") * kTopK))
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
  const Tiling tiling = choose_tiling(pairs);
  // Every expert that was chosen may have one tile that is not full.
  const int64_t max_tiles = (pairs < kExperts ? pairs : int64_t{kExperts}) + pairs / tiling.tokens;
  const Lists lists = {plan.workspace(4), plan.workspace(max_tiles * 4),
                       plan.workspace(max_tiles * tiling.tokens * 4)};
  const fib::PlanPointer activated = plan.workspace(pairs * kIntermediate * 2);
  const fib::PlanPointer partial = plan.workspace(pairs * kHidden * 4);

  if (tiling.tokens != fib::kFewTokens || pairs > fib::kFewPairs) {
    plan.launch("route")
        .block(kRouteThreads)
        .programmatic()
        .arg(problem.input("topk_ids"))
        .arg(lists.tile_count)
        .arg(lists.tile_experts)
        .arg(lists.tile_pairs)
        .arg(static_cast<int32_t>(pairs))
        .arg(static_cast<int32_t>(tiling.tokens));
  }
  launch_product(tiling, kGateUp, max_tiles, problem, plan, lists, problem.input("hidden_states"),
                 activated);
  launch_product(tiling, kDown, max_tiles, problem, plan, lists, activated, partial);
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
