#include "integrations/serving/engine/sequence.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace fib {
namespace {

Result<void> check_prompt(const std::vector<TokenId>& prompt, const ExecutorLimits& limits) {
  if (prompt.empty()) {
    return fail(ErrorCode::kInvalidInput, "the prompt is empty", "prompt", "send a token or more");
  }
  if (prompt.size() >= static_cast<size_t>(limits.max_positions)) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("the prompt has {} tokens and leaves no room for an answer within the "
                            "model's {} positions",
                            prompt.size(), limits.max_positions),
                "prompt", fmt::format("send at most {} tokens", limits.max_positions - 1));
  }
  for (size_t i = 0; i < prompt.size(); ++i) {
    if (prompt[i] < 0 || prompt[i] >= limits.vocab_size) {
      return fail(
          ErrorCode::kInvalidInput,
          fmt::format("token {} is not in the vocabulary of {}", prompt[i], limits.vocab_size),
          fmt::format("prompt[{}]", i), "use the model's own tokenizer");
    }
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Sequence>> Sequence::make(EngineRequest request,
                                                 const ExecutorLimits& limits,
                                                 const EngineConfig& config) {
  if (!request.listener) throw std::logic_error("a request without a listener");
  FIB_CHECK(check_prompt(request.prompt, limits));
  FIB_CHECK(request.sampling.check(limits.vocab_size));
  const int64_t cache_tokens = int64_t{limits.num_pages} * limits.page_size;
  const auto prompt_tokens = static_cast<int64_t>(request.prompt.size());
  if (prompt_tokens > cache_tokens) {
    return fail(
        ErrorCode::kResourceExhausted,
        fmt::format("the prompt has {} tokens, the KV cache holds {}", prompt_tokens, cache_tokens),
        "prompt", "send a shorter prompt or serve with a larger cache");
  }
  // The last token of all is never run, so it needs no place in the cache.
  const int64_t longest = std::min({prompt_tokens + request.sampling.max_tokens,
                                    int64_t{limits.max_positions}, cache_tokens + 1});
  std::unique_ptr<Sequence> sequence(
      new Sequence(std::move(request), static_cast<int>(longest), config.eos_tokens));
  // Here rather than at admission: this is the client's thread, that would be the engine's.
  if (config.has_prefix_cache) sequence->hash_blocks(limits.page_size);
  return sequence;
}

Sequence::Sequence(EngineRequest request, int longest, const std::vector<TokenId>& eos_tokens)
    : priority_(request.priority),
      listener_(std::move(request.listener)),
      tokens_(std::move(request.prompt)),
      longest_(longest),
      stop_tokens_(std::move(request.sampling.stop_tokens)),
      chooser_(request.sampling, tokens_) {
  usage.prompt_tokens = length();
  if (!request.sampling.ignore_eos) {
    stop_tokens_.insert(stop_tokens_.end(), eos_tokens.begin(), eos_tokens.end());
  }
  std::sort(stop_tokens_.begin(), stop_tokens_.end());
}

bool Sequence::is_stop(TokenId token) const {
  return std::binary_search(stop_tokens_.begin(), stop_tokens_.end(), token);
}

void Sequence::append(TokenId token) {
  tokens_.push_back(token);
  chooser_.append(token);
}

StepSegment Sequence::segment(int count, int page_size) const {
  const int end = progress.computed + count;
  return {.sequence = id,
          .tokens = std::span(tokens_).subspan(progress.computed, count),
          .first_position = progress.computed,
          .pages = std::span(progress.pages).first(num_pages_for(end, page_size)),
          .wants_token = end == length()};
}

std::span<const BlockHash> Sequence::hash_blocks(int page_size) {
  const size_t num_full = tokens_.size() / page_size;
  while (hashes_.size() < num_full) {
    const auto block = std::span(tokens_).subspan(hashes_.size() * page_size, page_size);
    hashes_.push_back(hash_block(hashes_.empty() ? BlockHash{} : hashes_.back(), block));
  }
  return hashes_;
}

}  // namespace fib
