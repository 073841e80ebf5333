#pragma once

// One step of a model, as the scheduler orders it and an executor carries it out. The executor
// knows nothing of requests; the scheduler knows nothing of layers but their number.
//
// The spans of a step point into the scheduler's sequences, so that a step costs no copies of page
// tables; they hold until Executor::run returns.

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "integrations/serving/engine/request.h"

namespace fib {

// Consecutive tokens of one sequence that a step runs through (some of) the layers.
struct StepSegment {
  uint64_t sequence = 0;            // identity, for stashes
  std::span<const TokenId> tokens;  // what to embed; never empty
  int first_position = 0;           // of tokens[0]; positions before it are in the cache
  std::span<const int32_t> pages;   // int32 [ceil(kv_length / page_size)]: position p lies in page
                                    // pages[p / page_size], at p % page_size
  // The next token is wanted after the segment's last token. Never before the last layer group.
  bool wants_token = false;

  int num_tokens() const { return static_cast<int>(tokens.size()); }
  int kv_length() const { return first_position + num_tokens(); }
};

struct LayerRange {
  int begin = 0, end = 0;
  friend bool operator==(const LayerRange&, const LayerRange&) = default;
};

// How the next token of a segment is chosen.
struct TokenChoice {
  float temperature = 1.0f;
  int top_k = 0;
  float top_p = 1.0f;
  float min_p = 0.0f;
  float uniform = 0.0f;  // in [0, 1): the draw; a function of seed and position only
  int logprobs = -1;     // as in SamplingParams
  // Added to the logits before anything else: bias and penalties, already worked out. Sorted by
  // token, each token once.
  std::span<const std::pair<TokenId, float>> logit_changes = {};
  // Repetition penalty, which isn't a sum: divides positive, multiplies negative logits.
  float repetition_penalty = 1.0f;
  std::span<const TokenId> repeated = {};  // sorted, distinct
};

// Decode segments run the full stack in every step. Prefill segments run `prefill_layers`: all
// layers (chunked prefill), or one group of them (layered prefill), with their hidden states
// stashed between the steps of a cohort. A cohort's segments are the same in all of its steps; the
// first of them starts at layer 0, the last ends with the last layer, and no other cohort comes
// between.
struct Step {
  std::vector<StepSegment> decode;  // one token each
  std::vector<StepSegment> prefill;
  LayerRange prefill_layers;  // of the prefill segments
  // One for each segment that wants a token: decode, then prefill.
  std::vector<TokenChoice> choices;

  int num_tokens() const;
};

struct ChosenToken {
  TokenId token = 0;
  float logprob = 0.0f;
  std::vector<TokenLogprob> top;
};

struct StepResult {
  std::vector<ChosenToken> tokens;  // in the order of Step::choices
  // The host's part of Executor::run: all but waiting for the device. Nothing where calls are done
  // when they return, as on the cpu.
  std::optional<double> host_ns = std::nullopt;
};

struct ExecutorLimits {
  int num_layers = 0;
  int vocab_size = 0;
  int max_positions = 0;    // of the model
  int page_size = 0;        // tokens a page
  int num_pages = 0;        // of the cache
  int max_step_tokens = 0;  // decode and prefill together
  int max_decode_rows = 0;
  int max_prefill_segments = std::numeric_limits<int>::max();  // of a step
  bool is_moe = false;
};

class Executor {
 public:
  virtual ~Executor() = default;
  virtual const ExecutorLimits& limits() const = 0;
  // An error concerns this step alone, unless its code is kWorkerLost: then the device is gone.
  virtual Result<StepResult> run(const Step& step) = 0;
  // The cohort will not go on: its stash is dropped.
  virtual void drop_stash() = 0;
  // Work of its own that waits for the time between two steps, a piece a call. True: there is more.
  virtual bool tend() { return false; }
};

}  // namespace fib
