#pragma once

// Routed experts: output = sum over a token's experts of weight * down(silu(gate(x)) * up(x)), with
// weights as a class that multiplies rows (Bf16Rows here, others in solutions).
//
// Decoding is bound by the bytes of the experts touched, so tokens are grouped by expert and a
// weight row is read once for all of them. Gate and up first, a task being sixteen rows of one
// expert; then down, a task being sixteen output columns for all experts. A token's experts are
// added in ascending order, each product is summed as gemm.h does: the result depends neither on
// the other tokens nor on the number of threads. moe_tiles.h has the same in tile registers.

#include <fib/cpu.h>
#include <fib/cpu/bf16.h>
#include <fib/cpu/gemm.h>

#include <type_traits>

namespace fib {

// [.., kWidth] bf16 as it lies.
template <int64_t kWidth>
struct Bf16Rows {
  const uint16_t* data;

  // How multiply() wants its rows x: kRow elements, column c at position(c), zero elsewhere.
  static constexpr int64_t kRow = kWidth;
  static constexpr int64_t position(int64_t column) { return column; }

  // Products of `count` <= kTileRows rows x of bf16 with the weight rows `row` .. `row` + 3. With
  // `ahead` the following rows are wanted next.
  void multiply(int64_t count, const uint16_t* const* x, int64_t row, int64_t ahead,
                float (*sums)[kTileColumns]) const {
    const uint16_t* rows[kTileColumns];
    for (int j = 0; j < kTileColumns; ++j) rows[j] = data + (row + j) * kWidth;
    dot_rows<kWidth>(count, x, rows, ahead * kWidth, sums);
  }
};

// Lays buffers out in a workspace, each aligned to 64 bytes.
struct Placement {
  char* base;  // may be null, to count the bytes
  size_t used = 0;

  template <class T>
  void operator()(T*& pointer, size_t count) {
    pointer = reinterpret_cast<T*>(base + used);
    used += (count * sizeof *pointer + 63) / 64 * 64;
  }
};

// Pairs of a token and one of its experts, sorted by expert, then token.
template <int64_t kExperts, int64_t kTopK>
struct ExpertGroups {
  struct Pair {
    int32_t token;
    float weight;
  };

  int32_t* first_pair;  // [kExperts + 1]
  int32_t* active;      // [kExperts], the first active_experts have tokens
  Pair* pairs;          // [tokens * kTopK]
  int64_t active_experts = 0;

  void place(Placement& take, int64_t tokens) {
    take(first_pair, kExperts + 1);
    take(active, kExperts);
    take(pairs, static_cast<size_t>(tokens * kTopK));
  }

  int64_t pairs_of(int64_t expert) const { return first_pair[expert + 1] - first_pair[expert]; }

  // ids, weights: [tokens, kTopK].
  void group(const int32_t* ids, const float* weights, int64_t tokens) {
    const int64_t count = tokens * kTopK;
    int32_t* const end = first_pair + 1;  // of each expert's pairs, once they are placed
    for (int64_t e = 0; e <= kExperts; ++e) first_pair[e] = 0;
    // Counts one place further on, so that filling turns each start into that expert's end.
    for (int64_t i = 0; i < count; ++i)
      if (ids[i] + 1 < kExperts) ++end[ids[i] + 1];
    for (int64_t e = 1; e < kExperts; ++e) end[e] += end[e - 1];
    for (int64_t i = 0; i < count; ++i)
      pairs[end[ids[i]]++] = {static_cast<int32_t>(i / kTopK), weights[i]};
    for (int32_t e = 0; e < kExperts; ++e)
      if (first_pair[e] < end[e]) active[active_experts++] = e;
  }
};

template <int64_t kExperts, int64_t kTopK, int64_t kHidden, int64_t kInner, class GateUp,
          class Down>
class Moe {
 public:
  const uint16_t* hidden;  // [tokens, kHidden] bf16
  const int32_t* ids;      // [tokens, kTopK]
  const float* weights;    // [tokens, kTopK]
  GateUp gate_up;          // [kExperts, 2 kInner, kHidden], gate rows first
  Down down;               // [kExperts, kHidden, kInner]
  uint16_t* output;        // [tokens, kHidden] bf16
  int64_t tokens;

  static size_t workspace_bytes(int64_t tokens) {
    Moe moe{};
    moe.tokens = tokens;
    return moe.place(nullptr);
  }

  void run(const FibCall* call) {
    place(static_cast<char*>(call->workspace));
    groups_.group(ids, weights, tokens);
    if constexpr (Down::kRow > kInner)
      memset(middle_, 0, static_cast<size_t>(tokens * kTopK * Down::kRow) * sizeof *middle_);
    if constexpr (kLaysOut) call->parallel_for(call, tokens, 8, lay_out, this);
    call->parallel_for(call, groups_.active_experts * kInnerTasks, grain(2 * kHidden), gate_and_up,
                       this);
    call->parallel_for(call, kOutputTasks, grain(kTopK * kInner), sum_experts, this);
  }

 private:
  static constexpr int kTask = 16;  // weight rows
  static constexpr int64_t kInnerTasks = kInner / kTask;
  static constexpr int64_t kOutputTasks = kHidden / kTask;
  static_assert(kInner % kTask == 0 && kHidden % kTask == 0, "whole tasks");

  // Tasks a chunk that takes a microsecond or more, a task's rows being `products` long.
  static constexpr int64_t grain(int64_t products) { return 1 + (1 << 15) / (kTask * products); }

  using Groups = ExpertGroups<kExperts, kTopK>;

  // Whether rows of hidden are copied into another order first.
  static constexpr bool kLaysOut = GateUp::kRow != kHidden || GateUp::position(1) != 1;

  // In the workspace:
  Groups groups_;
  uint16_t* x_;       // [tokens, GateUp::kRow], if kLaysOut
  uint16_t* middle_;  // [tokens * kTopK, Down::kRow] bf16, silu(gate) * up of each pair
  float* sums_;       // [kOutputTasks, tokens, kTask]

  // Lays the buffers out from `base`; returns their bytes.
  size_t place(char* base) {
    Placement take{base};
    groups_.place(take, tokens);
    take(x_, kLaysOut ? static_cast<size_t>(tokens * GateUp::kRow) : 0);
    take(middle_, static_cast<size_t>(tokens * kTopK * Down::kRow));
    take(sums_, static_cast<size_t>(tokens * kHidden));
    return take.used;
  }

  static void lay_out(int64_t begin, int64_t end, void* context) {
    const Moe& moe = *static_cast<const Moe*>(context);
    for (int64_t token = begin; token < end; ++token) {
      uint16_t* const row = moe.x_ + token * GateUp::kRow;
      if constexpr (GateUp::kRow > kHidden) memset(row, 0, GateUp::kRow * sizeof *row);
      for (int64_t c = 0; c < kHidden; ++c)
        row[GateUp::position(c)] = moe.hidden[token * kHidden + c];
    }
  }

  const uint16_t* row_of(int64_t token) const {
    return kLaysOut ? x_ + token * GateUp::kRow : hidden + token * kHidden;
  }

  // Calls body(first pair, count) for each tile of an expert's pairs.
  template <class Body>
  void for_tiles(int64_t expert, const Body& body) const {
    const int64_t end = groups_.first_pair[expert + 1];
    for (int64_t pair = groups_.first_pair[expert]; pair < end; pair += kTileRows)
      body(pair, end - pair < kTileRows ? end - pair : kTileRows);
  }

  static void gate_and_up(int64_t begin, int64_t end, void* context) {
    const Moe& moe = *static_cast<const Moe*>(context);
    for (int64_t task = begin; task < end; ++task)
      moe.gate_and_up(moe.groups_.active[task / kInnerTasks], task % kInnerTasks * kTask);
  }

  void gate_and_up(int64_t expert, int64_t first_row) const {
    for (int64_t row = first_row; row < first_row + kTask; row += kTileColumns) {
      const int64_t gate_row = expert * 2 * kInner + row;
      int64_t ahead = kTileColumns;  // for the first tile; the others find the rows in L1
      for_tiles(expert, [&](int64_t pair, int64_t count) {
        const uint16_t* x[kTileRows];
        for (int64_t t = 0; t < count; ++t) x[t] = row_of(groups_.pairs[pair + t].token);
        // As many sums as a vector has lanes, or fewer.
        float gate[kLanes / kTileColumns][kTileColumns] = {};
        float up[kLanes / kTileColumns][kTileColumns] = {};
        gate_up.multiply(count, x, gate_row, ahead, gate);
        gate_up.multiply(count, x, gate_row + kInner, ahead, up);
        uint16_t activated[kLanes];
        store(activated, silu(load(gate[0])) * load(up[0]));
        for (int64_t t = 0; t < count; ++t) {
          uint16_t* const middle = middle_ + (pair + t) * Down::kRow;
          for (int j = 0; j < kTileColumns; ++j)
            middle[Down::position(row + j)] = activated[t * kTileColumns + j];
        }
        ahead = 0;
      });
    }
  }

  static void sum_experts(int64_t begin, int64_t end, void* context) {
    const Moe& moe = *static_cast<const Moe*>(context);
    for (int64_t task = begin; task < end; ++task) moe.sum_experts(task);
  }

  void sum_experts(int64_t task) const {
    float* const sums = sums_ + task * tokens * kTask;
    memset(sums, 0, static_cast<size_t>(tokens * kTask) * sizeof *sums);
    for (int64_t i = 0; i < groups_.active_experts; ++i) {
      for (int64_t c = 0; c < kTask; c += kTileColumns)
        add_expert(groups_.active[i], task * kTask, c, sums);
    }
    for (int64_t token = 0; token < tokens; ++token)
      store(output + token * kHidden + task * kTask, load(sums + token * kTask));
  }

  // Adds columns first_column + c .. + 3 of one expert's tokens.
  void add_expert(int64_t expert, int64_t first_column, int64_t c, float* sums) const {
    const int64_t row = expert * kHidden + first_column + c;
    int64_t ahead = kTileColumns;
    for_tiles(expert, [&](int64_t pair, int64_t count) {
      const uint16_t* x[kTileRows];
      for (int64_t t = 0; t < count; ++t) x[t] = middle_ + (pair + t) * Down::kRow;
      float products[kTileRows][kTileColumns];
      down.multiply(count, x, row, ahead, products);
      for (int64_t t = 0; t < count; ++t) {
        const typename Groups::Pair& p = groups_.pairs[pair + t];
        float* const sum = sums + p.token * kTask + c;
        for (int j = 0; j < kTileColumns; ++j) sum[j] = fma(p.weight, products[t][j], sum[j]);
      }
      ahead = 0;
    });
  }
};

}  // namespace fib
