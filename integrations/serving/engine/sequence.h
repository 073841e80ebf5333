#pragma once

// An accepted request on its way through the engine: its tokens, how far they are computed, and the
// pages that hold the result.

#include <chrono>
#include <compare>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "integrations/serving/engine/block_hash.h"
#include "integrations/serving/engine/engine.h"
#include "integrations/serving/engine/request.h"
#include "integrations/serving/engine/token_choice.h"

namespace fib {

// Who comes first when something is scarce.
struct SequenceOrder {
  int priority = 0;
  RequestId arrival = 0;  // ids are given in order of arrival
  friend auto operator<=>(const SequenceOrder&, const SequenceOrder&) = default;
};

// What a sequence has in the KV cache, and loses when it is preempted.
struct SequenceProgress {
  std::vector<int32_t> pages;  // for all tokens there are; none while it waits
  int computed = 0;            // tokens whose K/V is complete in all layers
  int num_published = 0;       // pages found in the prefix cache or offered to it
  bool is_decoding = false;    // prefill is over: all but the last token are computed
};

class Sequence {
 public:
  // The errors are those of Engine::submit. Whoever accepts the request sets the id.
  static Result<std::unique_ptr<Sequence>> make(EngineRequest request, const ExecutorLimits& limits,
                                                const EngineConfig& config);

  RequestId id = 0;
  const std::chrono::steady_clock::time_point submitted = std::chrono::steady_clock::now();
  SequenceProgress progress;
  RequestUsage usage;  // completion_tokens is filled in at the end
  bool was_admitted = false;

  SequenceOrder order() const { return {priority_, id}; }
  const std::shared_ptr<RequestListener>& listener() const { return listener_; }

  int length() const { return static_cast<int>(tokens_.size()); }
  int num_generated() const { return length() - usage.prompt_tokens; }
  int remaining() const { return length() - progress.computed; }
  bool is_full() const { return length() == longest_; }  // no token may follow
  bool is_stop(TokenId token) const;
  void append(TokenId token);

  // The next `count` tokens to be computed.
  StepSegment segment(int count, int page_size) const;
  // For the token after the last.
  TokenChoice choice() const { return chooser_.choice(length()); }

  // The names of all full blocks of the tokens there are.
  std::span<const BlockHash> hash_blocks(int page_size);

 private:
  Sequence(EngineRequest request, int longest, const std::vector<TokenId>& eos_tokens);

  int priority_ = 0;
  std::shared_ptr<RequestListener> listener_;
  std::vector<TokenId> tokens_;       // the prompt, then what was generated
  int longest_ = 0;                   // prompt and answer
  std::vector<TokenId> stop_tokens_;  // sorted; with end-of-text unless it is ignored
  TokenChooser chooser_;
  std::vector<BlockHash> hashes_;  // of the blocks named so far
};

inline int num_pages_for(int num_tokens, int page_size) {
  return (num_tokens + page_size - 1) / page_size;
}

}  // namespace fib
