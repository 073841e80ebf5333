#pragma once

// Decides what the next step computes and digests what came of it. No threads, no clock, no device:
// its decisions are a function of the requests, their order and the tokens chosen.
//
// Every running sequence that decodes has a row in every step. Beside them goes one prefill stage:
// with chunked prefill, what fits the chunk, through all layers at once; with layered prefill, a
// cohort that takes as many steps as it has layer groups. Only when a stage has passed the last
// layer do its tokens count as computed, are blocks published and tokens chosen.
//
// Memory: a sequence gets the pages of all its tokens when it is admitted, and one more whenever it
// outgrows them. If there is none, the running sequence that comes last in order is preempted: it
// loses its pages and waits again; what it had generated is computed anew as if it were prompt. The
// first in order is never preempted, so everybody finishes.

#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <variant>
#include <vector>

#include "integrations/serving/engine/block_pool.h"
#include "integrations/serving/engine/engine.h"
#include "integrations/serving/engine/executor.h"
#include "integrations/serving/engine/sequence.h"

namespace fib {

struct RequestEnd {
  FinishReason reason = FinishReason::kStop;
  RequestUsage usage;
  std::optional<Error> error;
};

// What a listener is to be told.
struct RequestEvent {
  std::shared_ptr<RequestListener> listener;
  std::variant<GeneratedToken, RequestEnd> what;
};

class Scheduler {
 public:
  Scheduler(const ExecutorLimits& limits, const EngineConfig& config);

  void add(std::unique_ptr<Sequence> sequence);
  void cancel(RequestId id);  // unknown or finished: nothing
  void cancel_all();
  bool is_idle() const { return running_.empty() && waiting_.empty(); }

  // The next step; null when idle. It stays valid until complete() or fail(), one of which has to
  // follow before anything else is called.
  const Step* plan();
  void complete(StepResult result);
  void fail(const Error& error);      // ends the requests that were in the step
  void fail_all(const Error& error);  // ends all

  // Whether a stash was given up since the last call; to be asked before a step runs.
  bool take_stash_drop();
  std::vector<RequestEvent> take_events();  // since the last call, in order

  EngineStats stats() const;  // without times
  const BlockPool& pool() const { return pool_; }

 private:
  using Sequences = std::map<SequenceOrder, std::unique_ptr<Sequence>>;
  struct Piece {
    Sequence* sequence = nullptr;
    int num_tokens = 0;
  };
  struct PrefillStage {
    std::vector<Piece> pieces;
    int num_groups = 1;
    int group = 0;  // to run next
  };

  void plan_decode();
  void plan_stage();
  void form_stage();
  int piece_size(int remaining, int room) const;  // tokens; 0: not in this stage
  bool is_layered() const;

  int admit_first(int room);  // returns the tokens of its piece; 0: it has to wait
  std::vector<int32_t> find_cached_pages(Sequence& sequence) const;
  bool will_be_cached(Sequence& sequence, int block) const;

  bool grow(Sequence& sequence);  // false: it was preempted itself
  void preempt_last();
  void release_pages(Sequence& sequence);
  void leave_stage(const Sequence& sequence);
  void drop_stage();

  void advance(Sequence& sequence, int num_tokens);
  void receive(Sequence& sequence, ChosenToken chosen);
  void end(Sequence& sequence, FinishReason reason, const std::optional<Error>& error);
  void end_all(FinishReason reason, const std::optional<Error>& error);

  const ExecutorLimits limits_;
  const EngineConfig config_;
  const int max_running_;
  const int watermark_pages_;
  BlockPool pool_;
  Sequences waiting_, running_;
  std::unordered_map<RequestId, SequenceOrder> orders_;  // of both

  PrefillStage stage_;
  bool was_stash_dropped_ = false;
  Step step_;
  std::vector<Sequence*> decode_rows_;  // of step_
  std::vector<RequestEvent> events_;
  EngineStats stats_;
};

}  // namespace fib
