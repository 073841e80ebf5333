#pragma once

// Routed experts over bfloat16 weights, as moe.h has them, in tile registers (tiles.h, which also
// tells the order of a product's sums).
//
// An expert's pairs are cut into panels of up to sixteen. First, for one expert's panels and
// sixteen rows each of gate and up: the sums stand in the tiles as down wants its rows packed,
// pairs of columns by rows of x, and are written like that. Then down, a task being sixteen output
// columns for all experts, whose products are added in ascending order.

#include <fib/cpu/moe.h>
#include <fib/cpu/tiles.h>

namespace fib {

template <int64_t kExperts, int64_t kTopK, int64_t kHidden, int64_t kInner, class Tiles>
class TileMoe {
 public:
  const uint16_t* hidden;     // [tokens, kHidden] bf16
  const int32_t* ids;         // [tokens, kTopK]
  const float* weights;       // [tokens, kTopK]
  Bf16Rows<kHidden> gate_up;  // [kExperts, 2 kInner, kHidden], gate rows first
  Bf16Rows<kInner> down;      // [kExperts, kHidden, kInner]
  uint16_t* output;           // [tokens, kHidden] bf16
  int64_t tokens;

  static size_t workspace_bytes(int64_t tokens) {
    TileMoe moe{};
    moe.tokens = tokens;
    return moe.place(nullptr);
  }

  void run(const FibCall* call) {
    place(static_cast<char*>(call->workspace));
    groups_.group(ids, weights, tokens);
    cut_into_panels();
    for (wave_ = 0; wave_ < panels_; wave_ += kWavePanels) {
      wave_end_ = wave_ + kWavePanels < panels_ ? wave_ + kWavePanels : panels_;
      find_runs();
      call->parallel_for(call, (wave_end_ - wave_) * kSteps, 256 / width_, pack, this);
      call->parallel_for(call, runs_ * kInnerTasks, grain(2 * kHidden), gate_and_up, this);
    }
    call->parallel_for(call, kOutputTasks, grain(kTopK * kInner), sum_experts, this);
  }

 private:
  static constexpr int64_t kTask = kTileRegisterRows;  // weight rows
  static constexpr int64_t kInnerTasks = kInner / kTask;
  static constexpr int64_t kOutputTasks = kHidden / kTask;
  static constexpr int64_t kSteps = kTileSteps<kHidden>;
  static_assert(kInner % kTask == 0 && kHidden % kTask == 0, "whole tasks");

  // Panels packed at a time: with them the workspace stays small beside `middle`.
  static constexpr int64_t kWavePanels = 256;

  // Tasks a chunk that takes a microsecond or more, a task's rows being `products` long.
  static constexpr int64_t grain(int64_t products) { return 1 + (1 << 15) / (kTask * products); }

  // Up to width_ pairs of one expert.
  struct Panel {
    int32_t expert;
    int32_t first_pair;
    int32_t count;
  };

  // In the workspace:
  ExpertGroups<kExperts, kTopK> groups_;
  Panel* panel_;        // [panels_]
  int32_t* first_run_;  // [runs_ + 1], the panels at which a wave's experts begin
  uint16_t* x_;         // [kWavePanels or fewer, panel_size<kHidden>], packed
  uint16_t* middle_;    // [panels_, panel_size<kInner>], packed: silu(gate) * up
  float* sums_;         // [kOutputTasks, tokens, kTask]

  int64_t panels_ = 0;
  int64_t width_ = 1;                // pairs in a panel, some of them padding
  int64_t wave_ = 0, wave_end_ = 0;  // panels whose x is packed
  int64_t runs_ = 0;

  // Lays the buffers out from `base`; returns their bytes.
  size_t place(char* base) {
    const int64_t pairs = tokens * kTopK;
    const int64_t most_experts = pairs < kExperts ? pairs : kExperts;
    const int64_t most_panels = pairs / kTileRegisterRows + most_experts;
    const int64_t wave_panels = most_panels < kWavePanels ? most_panels : kWavePanels;
    const int64_t width = pairs < kTileRegisterRows ? pairs : kTileRegisterRows;
    Placement take{base};
    groups_.place(take, tokens);
    take(panel_, static_cast<size_t>(most_panels));
    take(first_run_, static_cast<size_t>(wave_panels + 1));
    take(x_, static_cast<size_t>(wave_panels * panel_size<kHidden>(width)));
    take(middle_, static_cast<size_t>(most_panels * panel_size<kInner>(width)));
    take(sums_, static_cast<size_t>(tokens * kHidden));
    return take.used;
  }

  void cut_into_panels() {
    for (int64_t i = 0; i < groups_.active_experts; ++i) {
      const int64_t count = groups_.pairs_of(groups_.active[i]);
      width_ = count < width_ ? width_ : count < kTileRegisterRows ? count : kTileRegisterRows;
    }
    for (int64_t i = 0; i < groups_.active_experts; ++i) {
      const int32_t expert = groups_.active[i], end = groups_.first_pair[expert + 1];
      for (int32_t pair = groups_.first_pair[expert]; pair < end; pair += kTileRegisterRows) {
        const int32_t count = end - pair < kTileRegisterRows ? end - pair : kTileRegisterRows;
        panel_[panels_++] = {expert, pair, count};
      }
    }
  }

  void find_runs() {
    runs_ = 0;
    for (int64_t p = wave_; p < wave_end_; ++p) {
      if (p == wave_ || panel_[p].expert != panel_[p - 1].expert)
        first_run_[runs_++] = static_cast<int32_t>(p);
    }
    first_run_[runs_] = static_cast<int32_t>(wave_end_);
  }

  TileShape shape() const { return {kTask, width_}; }
  uint16_t* x_of(int64_t panel) const { return x_ + (panel - wave_) * panel_size<kHidden>(width_); }
  uint16_t* middle_of(int64_t panel) const { return middle_ + panel * panel_size<kInner>(width_); }

  // Steps of the wave's panels.
  static void pack(int64_t begin, int64_t end, void* context) {
    const TileMoe& moe = *static_cast<const TileMoe*>(context);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t p = moe.wave_ + i / kSteps;
      const Panel& panel = moe.panel_[p];
      const uint16_t* x[kTileRegisterRows];
      for (int64_t t = 0; t < panel.count; ++t)
        x[t] = moe.hidden + moe.groups_.pairs[panel.first_pair + t].token * kHidden;
      pack_step<kHidden>(x, panel.count, moe.width_, i % kSteps, moe.x_of(p));
    }
  }

  static void gate_and_up(int64_t begin, int64_t end, void* context) {
    const TileMoe& moe = *static_cast<const TileMoe*>(context);
    Tiles tiles(moe.shape());
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = moe.first_run_[task / kInnerTasks];
      const int64_t last = moe.first_run_[task / kInnerTasks + 1];
      const int64_t row = task % kInnerTasks * kTask;
      for (int64_t p = first; p < last; p += 2) {
        const int64_t next_row = task + 1 < end && row + kTask < kInner ? row + kTask : row;
        const int64_t next = p == first ? next_row : -1;
        p + 1 < last ? moe.gate_and_up<2>(tiles, p, row, next)
                     : moe.gate_and_up<1>(tiles, p, row, next);
      }
    }
  }

  // Of panels `p` and on, inner columns `row` and on. next_row: to be read afterwards, or -1.
  template <int kPanels>
  void gate_and_up(Tiles& tiles, int64_t p, int64_t row, int64_t next_row) const {
    const uint16_t* const gate = gate_up.data + panel_[p].expert * 2 * kInner * kHidden;
    const uint16_t* const up = gate + kInner * kHidden;
    TileOperands<2, kPanels> operands{{gate + row * kHidden, up + row * kHidden}, {}, {}};
    if (next_row >= 0) {
      operands.next[0] = gate + next_row * kHidden;
      operands.next[1] = up + next_row * kHidden;
    }
    for (int j = 0; j < kPanels; ++j) operands.panels[j] = x_of(p + j);
    multiply_tiles<kHidden>(tiles, shape(), operands);
    activate<0, 2>(tiles, middle_of(p), row);
    if constexpr (kPanels == 2) activate<1, 3>(tiles, middle_of(p + 1), row);
  }

  // Sixteen inner columns of a panel of `middle`, from tiles of gates and ups.
  template <int kGate, int kUp>
  void activate(Tiles& tiles, uint16_t* middle, int64_t row) const {
    alignas(64) Floats gate[kTask] = {}, up[kTask] = {};  // [column][pair]
    tiles.template store<kGate>(gate, sizeof gate[0]);
    tiles.template store<kUp>(up, sizeof up[0]);
    const auto activated = [&](int64_t column) {
      return __builtin_convertvector(narrow(silu(gate[column]) * up[column]), Words);
    };
    uint16_t* out = middle + row * width_;
    for (int64_t column = 0; column < kTask; column += 2) {
      const Words columns = activated(column) | activated(column + 1) << 16;
      memcpy(out, &columns, static_cast<size_t>(width_) * sizeof(uint32_t));
      out += 2 * width_;
    }
    if (kInner % kTileStep > 0 && row + kTask == kInner)
      memset(out, 0, static_cast<size_t>(kTask * width_) * sizeof *out);
  }

  static void sum_experts(int64_t begin, int64_t end, void* context) {
    const TileMoe& moe = *static_cast<const TileMoe*>(context);
    Tiles tiles(moe.shape());
    for (int64_t task = begin; task < end; ++task) moe.sum_experts(tiles, task);
  }

  void sum_experts(Tiles& tiles, int64_t task) const {
    float* const sums = sums_ + task * tokens * kTask;
    memset(sums, 0, static_cast<size_t>(tokens * kTask) * sizeof *sums);
    const auto rows_of = [&](int64_t p) {
      return down.data + (panel_[p].expert * kHidden + task * kTask) * kInner;
    };
    for (int64_t p = 0; p < panels_;) {
      const bool has_two = p + 1 < panels_ && panel_[p + 1].expert == panel_[p].expert;
      const int64_t after = p + 1 + has_two;
      const bool is_first = p == 0 || panel_[p - 1].expert != panel_[p].expert;
      const uint16_t* const next = is_first ? rows_of(after < panels_ ? after : p) : nullptr;
      has_two ? add_panels<2>(tiles, p, rows_of(p), next, sums)
              : add_panels<1>(tiles, p, rows_of(p), next, sums);
      p = after;
    }
    for (int64_t token = 0; token < tokens; ++token)
      store(output + token * kHidden + task * kTask, load(sums + token * kTask));
  }

  template <int kPanels>
  void add_panels(Tiles& tiles, int64_t p, const uint16_t* rows, const uint16_t* next,
                  float* sums) const {
    TileOperands<1, kPanels> operands{{rows}, {}, {next}};
    for (int j = 0; j < kPanels; ++j) operands.panels[j] = middle_of(p + j);
    multiply_tiles<kInner>(tiles, shape(), operands);
    add_panel<0>(tiles, panel_[p], sums);
    if constexpr (kPanels == 2) add_panel<1>(tiles, panel_[p + 1], sums);
  }

  template <int kTile>
  void add_panel(Tiles& tiles, const Panel& panel, float* sums) const {
    Floats products[kTileRegisterRows];
    take_sums<kTile>(tiles, products);
    for (int64_t t = 0; t < panel.count; ++t) {
      const auto& pair = groups_.pairs[panel.first_pair + t];
      float* const sum = sums + pair.token * kTask;
      store(sum, fma(splat(pair.weight), products[t], load(sum)));
    }
  }
};

// Calls use() with experts in tiles, where the process may use them, or with the others. The same in
// every call of a process.
template <class Experts, class InTiles, class Use>
auto with_experts(const Use& use) {
  if constexpr (kHasTiles) {
    if (may_use_tiles()) {
      InTiles experts{};
      return use(experts);
    }
  }
  Experts experts{};
  return use(experts);
}

}  // namespace fib
