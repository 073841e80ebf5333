#pragma once

// The serving engine: requests in, tokens out. One thread of its own drives an Executor step by
// step; submit() and cancel() may be called from any thread.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "integrations/serving/engine/executor.h"
#include "integrations/serving/engine/request.h"

namespace fib {

enum class PrefillPolicy {
  kChunked,  // every step takes at most `chunk_tokens` prompt tokens through all layers
  kLayered,  // a cohort of prompts passes one layer group a step (arXiv 2510.08055); dense models
             // lose by it and are served chunked
};

struct EngineConfig {
  PrefillPolicy prefill = PrefillPolicy::kChunked;
  int chunk_tokens = 512;     // chunked: prompt tokens a step
  int cohort_tokens = 8192;   // layered: a cohort's prompt tokens; longer prompts are cut
  int max_decode_rows = 256;  // sequences that decode at once
  size_t max_queued = 1024;   // waiting requests; beyond: kResourceExhausted
  bool has_prefix_cache = true;
  double watermark = 0.01;          // of the pages, kept free at admission
  double step_timeout_s = 30.0;     // a step under way for longer is overdue: see EngineStats
  std::vector<TokenId> eos_tokens;  // the model's end-of-text, for requests that don't ignore it

  // kInvalidInput names the field and its range.
  Result<void> check(const ExecutorLimits& limits) const;
};

struct EngineStats {  // since the start, unless said otherwise
  uint64_t steps = 0;
  uint64_t prompt_tokens = 0;   // of the requests admitted
  uint64_t cached_tokens = 0;   // of these, found in the prefix cache
  uint64_t prefill_tokens = 0;  // run through all layers beside decoding, recomputed ones again
  uint64_t generated_tokens = 0;
  uint64_t preemptions = 0, finished = 0, cancelled = 0, failed = 0;
  int running = 0, waiting = 0;         // now
  int pages_used = 0, pages_total = 0;  // now; pages kept only for the prefix cache are not used
  bool is_device_lost = false;          // now and for good
  std::string device_error;             // why; empty while it isn't lost
  // Now: a step takes longer than EngineConfig::step_timeout_s. It may be slow, or its kernel hang.
  // Nobody ends it but the device; the engine goes on if it ever returns.
  bool is_step_overdue = false;
  double step_host_ns = 0.0;            // all steps' time outside Executor::run
  double step_run_ns = 0.0;             // and inside
  // Of the latter the host's part, all but waiting for the device; nothing on the cpu, and as long
  // as there was no step.
  std::optional<double> executor_host_ns;

  // The host's part of all steps, as far as it is known.
  double host_ns() const { return step_host_ns + executor_host_ns.value_or(0.0); }
};

class Engine {
 public:
  virtual ~Engine() = default;  // cancels what is left
  // The executor outlives the engine and is used by the engine's thread alone.
  static Result<std::unique_ptr<Engine>> start(Executor& executor, EngineConfig config);

  // kInvalidInput: empty or too long a prompt, sampling out of range; kResourceExhausted: the queue
  // is full, or the prompt could never fit the cache; kEnvironment: it drains; kWorkerLost: the
  // device is gone. The listener hears nothing of refused ones, and may hear of an accepted one
  // before submit() returns.
  virtual Result<RequestId> submit(EngineRequest request) = 0;
  virtual void cancel(RequestId id) = 0;  // unknown or finished: nothing
  virtual EngineStats stats() const = 0;
  // The executor has something to tend to, which otherwise happens before each step alone.
  virtual void wake() = 0;
  // Refuses new requests (kEnvironment) and returns when those it has are finished. Not to be
  // called by a listener.
  virtual void drain() = 0;
};

}  // namespace fib
