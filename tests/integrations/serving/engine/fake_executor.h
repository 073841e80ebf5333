#pragma once

// A model small enough to be obvious: hidden states and K/V entries are 64-bit hashes, attention is
// a hash over all K/V entries up to its own position, the next token a hash of the last layer's
// state and of how it is to be chosen. One wrong, missing or foreign entry changes all that
// follows.
//
// FakeExecutor runs it over paged memory as a Step asks, and holds every step against the rules of
// executor.h (failures are reported to GoogleTest). generate() runs it alone, without pages.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "integrations/serving/engine/engine.h"

namespace fib::testing {

uint64_t mix(uint64_t a, uint64_t b);

// What a request alone on a machine gets; ends as the engine would end it.
std::vector<TokenId> generate(const EngineRequest& request, const ExecutorLimits& limits,
                              const EngineConfig& config);

class FakeExecutor : public Executor {
 public:
  FakeExecutor(const ExecutorLimits& limits, const EngineConfig& config);

  const ExecutorLimits& limits() const override { return limits_; }
  Result<StepResult> run(const Step& step) override;
  void drop_stash() override;

  // Whether a sequence may write to a page; asked for each page written.
  std::function<bool(int32_t page)> may_write = [](int32_t) { return true; };
  // Answers the next run, after some of its K/V was written.
  std::optional<Error> next_error;
  std::optional<double> host_ns;  // what each run says that it took of the host

  void clear_page(int32_t page);
  bool is_complete(int32_t page) const;  // all slots, in all layers

  // Sequences that began anew though they had computed something already.
  int resets() const { return resets_; }
  int stashes_dropped() const { return stashes_dropped_; }  // sequences in them
  int cohorts() const { return cohorts_; }                  // finished, of two groups or more

 private:
  struct Stash {
    std::vector<uint64_t> hidden;
    int first_position = 0;
  };

  void check_segments(const Step& step) const;
  void check_layers(const Step& step);
  void begin_segment(const StepSegment& segment);
  uint64_t run_segment(const StepSegment& segment, LayerRange layers);
  uint64_t& entry(int layer, const StepSegment& segment, int position);

  const ExecutorLimits limits_;
  const EngineConfig config_;
  std::vector<std::vector<uint64_t>> cache_;      // [layer][slot]; 0: not written
  std::map<uint64_t, Stash> stashes_;             // by sequence
  std::map<uint64_t, std::vector<int>> visited_;  // by sequence: layers passed by each position
  int next_layer_ = 0;                            // of the cohort
  int groups_run_ = 0;
  int resets_ = 0, stashes_dropped_ = 0, cohorts_ = 0;
};

}  // namespace fib::testing
