#pragma once

// What the executor needs to choose a sequence's next token, kept up to date token by token, so
// that a step costs nothing that grows with the sequence.

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "integrations/serving/engine/executor.h"
#include "integrations/serving/engine/request.h"

namespace fib {

// Philox4x32-10 (Salmon et al., SC 2011): 128 random bits that are a function of key and counter.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// The draw for the token at `position`: in [0, 1), a multiple of 2^-24. A token drawn again after
// a preemption, in another batch or on another day is the same.
float uniform_draw(uint64_t seed, int position);

class TokenChooser {
 public:
  TokenChooser(const SamplingParams& sampling, std::span<const TokenId> prompt);

  void append(TokenId token);  // it was generated
  // For the token at `position`. Its spans hold until the next append().
  TokenChoice choice(int position) const;

 private:
  TokenChoice fixed_;  // what doesn't change from token to token
  uint64_t seed_ = 0;
  float presence_penalty_ = 0.0f, frequency_penalty_ = 0.0f;
  std::map<TokenId, float> logit_bias_;

  std::unordered_map<TokenId, int> counts_;  // of generated tokens; only under penalties
  std::vector<std::pair<TokenId, float>> logit_changes_;  // sorted by token
  std::vector<TokenId> repeated_;                         // sorted, distinct; only if penalised
};

}  // namespace fib
