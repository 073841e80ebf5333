#include "integrations/serving/engine/token_choice.h"

#include <algorithm>

namespace fib {

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  constexpr int kRounds = 10;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t first = uint64_t{0xD2511F53} * counter[0];
    const uint64_t second = uint64_t{0xCD9E8D57} * counter[2];
    counter = {
        static_cast<uint32_t>(second >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(second),
        static_cast<uint32_t>(first >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(first)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

float uniform_draw(uint64_t seed, int position) {
  const auto bits = philox({static_cast<uint32_t>(position), 0, 0, 0},
                           {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  // 24 bits: what a float holds exactly, so that the draw never rounds up to 1.
  return static_cast<float>(bits[0] >> 8) * 0x1p-24f;
}

TokenChooser::TokenChooser(const SamplingParams& sampling, std::span<const TokenId> prompt)
    : fixed_{.temperature = sampling.temperature,
             .top_k = sampling.top_k,
             .top_p = sampling.top_p,
             .min_p = sampling.min_p,
             .logprobs = sampling.logprobs,
             .repetition_penalty = sampling.repetition_penalty},
      seed_(sampling.seed),
      presence_penalty_(sampling.presence_penalty),
      frequency_penalty_(sampling.frequency_penalty),
      logit_bias_(sampling.logit_bias),
      logit_changes_(sampling.logit_bias.begin(), sampling.logit_bias.end()) {
  if (fixed_.repetition_penalty != 1.0f) {
    repeated_.assign(prompt.begin(), prompt.end());
    std::sort(repeated_.begin(), repeated_.end());
    repeated_.erase(std::unique(repeated_.begin(), repeated_.end()), repeated_.end());
  }
}

void TokenChooser::append(TokenId token) {
  if (fixed_.repetition_penalty != 1.0f) {
    const auto place = std::lower_bound(repeated_.begin(), repeated_.end(), token);
    if (place == repeated_.end() || *place != token) repeated_.insert(place, token);
  }
  if (presence_penalty_ == 0.0f && frequency_penalty_ == 0.0f) return;
  // From the count each time: a running sum's rounding would depend on its history.
  const auto bias = logit_bias_.find(token);
  const float change = (bias == logit_bias_.end() ? 0.0f : bias->second) - presence_penalty_ -
                       frequency_penalty_ * static_cast<float>(++counts_[token]);
  const auto place = std::lower_bound(
      logit_changes_.begin(), logit_changes_.end(), token,
      [](const std::pair<TokenId, float>& entry, TokenId value) { return entry.first < value; });
  if (place != logit_changes_.end() && place->first == token) {
    place->second = change;
  } else {
    logit_changes_.insert(place, {token, change});
  }
}

TokenChoice TokenChooser::choice(int position) const {
  TokenChoice choice = fixed_;
  choice.uniform = uniform_draw(seed_, position);
  choice.logit_changes = logit_changes_;
  choice.repeated = repeated_;
  return choice;
}

}  // namespace fib
