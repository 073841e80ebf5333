#include <fib/plan.h>

#include "shape.h"

namespace {

struct Kernel {
  const char* name;
  Product product;
  int rows, tokens;
};
struct Tiling {
  Kernel gate_up, down;
};
constexpr Tiling kTilings[] = {
    {{"product<kGateUp, kFewRows, 8>", kGateUp, kFewRows, 8},
     {"product<kDown, kFewRows, 8>", kDown, kFewRows, 8}},
    {{"product<kGateUp, kFewRows, 16>", kGateUp, kFewRows, 16},
     {"product<kDown, kFewRows, 16>", kDown, kFewRows, 16}},
    {{"product<kGateUp, 128, 32>", kGateUp, 128, 32}, {"product<kDown, 128, 32>", kDown, 128, 32}},
    {{"product<kGateUp, 128, 64>", kGateUp, 128, 64}, {"product<kDown, 128, 64>", kDown, 128, 64}},
};
constexpr Kernel kNarrow[] = {{"product<kGateUp, kNarrowRows, 8>", kGateUp, kNarrowRows, 8},
                              {"product<kDown, kNarrowRows, 8>", kDown, kNarrowRows, 8}};

// By the mean number of tokens an expert has. The routing itself is known only on the device.
const Tiling& choose_tiling(int64_t pairs) {
  if (pairs <= 4 * kExperts) return kTilings[0];
  if (pairs <= 10 * kExperts) return kTilings[1];
  return pairs <= 24 * kExperts ? kTilings[2] : kTilings[3];
}

// Fewer rows a block where all blocks then still run at once: more of them share the work.
Kernel narrowed(const Kernel& kernel, int64_t max_tiles, int64_t places) {
  const Kernel& narrow = kNarrow[kernel.product == kDown];
  const bool is_better = kernel.tokens == narrow.tokens &&
                         max_tiles * row_blocks(narrow.product, narrow.rows) <= NARROW * places;
  return is_better ? narrow : kernel;
}

struct Lists {  // what `route` writes
  fib::PlanPointer tile_count, tile_experts, tile_pairs;
};

void launch_product(const Kernel& wide, int64_t max_tiles, const fib::PlanProblem& problem,
                    fib::Plan& plan, const Lists& lists, fib::PlanPointer activations,
                    fib::PlanPointer output) {
  const int64_t places =
      int64_t{blocks_a_multiprocessor(wide.tokens)} * problem.device().multiprocessors;
  const Kernel kernel = narrowed(wide, max_tiles, places);
  const bool is_first = kernel.product == kGateUp;
  const int64_t tiles = max_tiles * row_blocks(kernel.product, kernel.rows);
  plan.launch(kernel.name)
      .grid(tiles < places ? tiles : places)
      .block(threads_of(kernel.rows, kernel.tokens))
      .shared_bytes(shared_bytes(kernel.product, kernel.rows, kernel.tokens))
      .programmatic()
      .arg(activations)
      .arg(problem.input(is_first ? "w13_packed" : "w2_packed"))
      .arg(problem.input(is_first ? "w13_scale" : "w2_scale"))
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
  const Tiling& tiling = choose_tiling(pairs);
  const int tile_tokens = tiling.gate_up.tokens;
  // Every expert that was chosen may have one tile that is not full.
  const int64_t max_tiles = (pairs < kExperts ? pairs : int64_t{kExperts}) + pairs / tile_tokens;
  const Lists lists = {plan.workspace(4), plan.workspace(max_tiles * 4),
                       plan.workspace(max_tiles * tile_tokens * 4)};
  const fib::PlanPointer activated = plan.workspace(pairs * kIntermediate * 2);
  const fib::PlanPointer partial = plan.workspace(pairs * kHidden * 4);

  if (tile_tokens != fib::kFewTokens || pairs > fib::kFewPairs) {
    plan.launch("route")
        .block(kRouteThreads)
        .programmatic()
        .arg(problem.input("topk_ids"))
        .arg(lists.tile_count)
        .arg(lists.tile_experts)
        .arg(lists.tile_pairs)
        .arg(static_cast<int32_t>(pairs))
        .arg(static_cast<int32_t>(tile_tokens));
  }
  launch_product(tiling.gate_up, max_tiles, problem, plan, lists, problem.input("hidden_states"),
                 activated);
  launch_product(tiling.down, max_tiles, problem, plan, lists, activated, partial);
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
