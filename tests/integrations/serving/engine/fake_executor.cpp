#include "tests/integrations/serving/engine/fake_executor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <set>
#include <utility>

#include "integrations/serving/engine/layered_prefill.h"
#include "integrations/serving/engine/token_choice.h"

namespace fib::testing {
namespace {

uint64_t embed(TokenId token) { return mix(1, static_cast<uint64_t>(token)); }

uint64_t kv_entry(uint64_t hidden, int layer, int position) {
  return mix(mix(hidden, layer), position) | 1;  // never 0
}

uint64_t bits(float value) { return std::bit_cast<uint32_t>(value); }

ChosenToken choose(uint64_t hidden, const TokenChoice& choice, int vocab_size) {
  for (const float value : {choice.temperature, choice.top_p, choice.min_p, choice.uniform,
                            choice.repetition_penalty}) {
    hidden = mix(hidden, bits(value));
  }
  for (const auto& [token, change] : choice.logit_changes) {
    hidden = mix(hidden, mix(token, bits(change)));
  }
  for (const TokenId token : choice.repeated) hidden = mix(hidden, token);
  return {.token = static_cast<TokenId>(hidden % vocab_size)};
}

}  // namespace

uint64_t mix(uint64_t a, uint64_t b) {  // splitmix64 over both
  uint64_t x = (a ^ (b * 0x9E3779B97F4A7C15)) + 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

std::vector<TokenId> generate(const EngineRequest& request, const ExecutorLimits& limits,
                              const EngineConfig& config) {
  const SamplingParams& sampling = request.sampling;
  TokenChooser chooser(sampling, request.prompt);
  std::vector<uint64_t> attention(limits.num_layers, 0);
  std::vector<TokenId> tokens = request.prompt, answer;
  const size_t longest = std::min<size_t>(
      {request.prompt.size() + sampling.max_tokens, static_cast<size_t>(limits.max_positions),
       static_cast<size_t>(limits.num_pages) * limits.page_size + 1});
  const auto contains = [](const std::vector<TokenId>& list, TokenId token) {
    return std::find(list.begin(), list.end(), token) != list.end();
  };
  for (int position = 0;; ++position) {
    uint64_t hidden = embed(tokens[position]);
    for (int layer = 0; layer < limits.num_layers; ++layer) {
      attention[layer] = mix(attention[layer], kv_entry(hidden, layer, position));
      hidden = mix(hidden, attention[layer]);
    }
    if (position + 1 < std::ssize(tokens)) continue;
    const TokenId token = choose(hidden, chooser.choice(position + 1), limits.vocab_size).token;
    if (contains(sampling.stop_tokens, token)) return answer;
    if (!sampling.ignore_eos && contains(config.eos_tokens, token)) return answer;
    answer.push_back(token);
    tokens.push_back(token);
    chooser.append(token);
    if (tokens.size() == longest) return answer;
  }
}

FakeExecutor::FakeExecutor(const ExecutorLimits& limits, const EngineConfig& config)
    : limits_(limits),
      config_(config),
      cache_(limits.num_layers, std::vector<uint64_t>(limits.num_pages * limits.page_size, 0)) {}

Result<StepResult> FakeExecutor::run(const Step& step) {
  check_segments(step);
  check_layers(step);
  const LayerRange all{0, limits_.num_layers};
  StepResult result;
  const auto run_wanted = [&](const StepSegment& segment, LayerRange layers) {
    const uint64_t hidden = run_segment(segment, layers);
    if (!segment.wants_token) return;
    if (result.tokens.size() >= step.choices.size()) {
      ADD_FAILURE() << "more tokens wanted than choices given";
      return;
    }
    const TokenChoice& choice = step.choices[result.tokens.size()];
    result.tokens.push_back(choose(hidden, choice, limits_.vocab_size));
  };
  for (const StepSegment& segment : step.decode) {
    begin_segment(segment);
    run_wanted(segment, all);
    if (next_error) break;
  }
  for (const StepSegment& segment : step.prefill) {
    if (next_error) break;
    if (step.prefill_layers.begin == 0) begin_segment(segment);
    run_wanted(segment, step.prefill_layers);
  }
  if (next_error) return fail(*std::exchange(next_error, std::nullopt));
  EXPECT_EQ(result.tokens.size(), step.choices.size());
  if (step.prefill_layers.end == limits_.num_layers) stashes_.clear();
  result.host_ns = host_ns;
  return result;
}

void FakeExecutor::check_segments(const Step& step) const {
  EXPECT_GT(step.num_tokens(), 0);
  EXPECT_LE(step.num_tokens(), limits_.max_step_tokens);
  EXPECT_LE(std::ssize(step.decode), std::min(limits_.max_decode_rows, config_.max_decode_rows));
  std::set<uint64_t> sequences;
  for (const auto* segments : {&step.decode, &step.prefill}) {
    for (const StepSegment& segment : *segments) {
      EXPECT_TRUE(sequences.insert(segment.sequence).second) << "a sequence twice in a step";
      EXPECT_GT(segment.num_tokens(), 0);
      EXPECT_LE(segment.kv_length(), limits_.max_positions);
      EXPECT_EQ(std::ssize(segment.pages),
                (segment.kv_length() + limits_.page_size - 1) / limits_.page_size);
      const std::set<int32_t> distinct(segment.pages.begin(), segment.pages.end());
      EXPECT_EQ(distinct.size(), segment.pages.size());
    }
  }
  for (const StepSegment& segment : step.decode) {
    EXPECT_EQ(segment.num_tokens(), 1);
    EXPECT_TRUE(segment.wants_token);
  }
  for (const StepSegment& segment : step.prefill) {
    EXPECT_TRUE(!segment.wants_token || step.prefill_layers.end == limits_.num_layers);
  }
}

void FakeExecutor::check_layers(const Step& step) {
  if (step.prefill.empty()) return;
  int num_tokens = 0;
  for (const StepSegment& segment : step.prefill) num_tokens += segment.num_tokens();
  const bool is_layered = config_.prefill == PrefillPolicy::kLayered && limits_.is_moe;
  EXPECT_LE(num_tokens, is_layered ? config_.cohort_tokens : config_.chunk_tokens);
  const auto [begin, end] = step.prefill_layers;
  if (begin == 0) {
    EXPECT_TRUE(stashes_.empty()) << "a cohort begins while another's stash is kept";
    next_layer_ = groups_run_ = 0;
  } else {
    EXPECT_EQ(stashes_.size(), step.prefill.size()) << "a cohort's members changed";
  }
  EXPECT_EQ(begin, next_layer_);
  next_layer_ = end;
  ++groups_run_;
  if (end < limits_.num_layers) return;
  EXPECT_EQ(groups_run_, is_layered ? num_layer_groups(num_tokens, limits_.num_layers) : 1);
  cohorts_ += groups_run_ > 1;
}

void FakeExecutor::begin_segment(const StepSegment& segment) {
  std::vector<int>& visited = visited_[segment.sequence];
  const int computed =
      static_cast<int>(std::find_if(visited.begin(), visited.end(),
                                    [&](int layers) { return layers < limits_.num_layers; }) -
                       visited.begin());
  if (computed == segment.first_position && computed == std::ssize(visited)) return;  // it goes on
  resets_ += !visited.empty();
  visited.assign(segment.first_position, limits_.num_layers);
  if (computed == segment.first_position) return;  // only its last piece is computed again
  // What it did not compute itself is from the prefix cache, in whole blocks.
  EXPECT_EQ(segment.first_position % limits_.page_size, 0);
  for (int block = 0; block < segment.first_position / limits_.page_size; ++block) {
    EXPECT_TRUE(is_complete(segment.pages[block])) << "an unfinished block is read";
  }
}

uint64_t FakeExecutor::run_segment(const StepSegment& segment, LayerRange layers) {
  for (int position = segment.first_position; position < segment.kv_length();
       position += limits_.page_size - position % limits_.page_size) {
    EXPECT_TRUE(may_write(segment.pages[position / limits_.page_size]));
  }
  std::vector<int>& visited = visited_[segment.sequence];
  std::vector<uint64_t> hidden;
  if (layers.begin == 0) {
    for (const TokenId token : segment.tokens) hidden.push_back(embed(token));
    visited.resize(segment.kv_length(), 0);
  } else {
    hidden = stashes_[segment.sequence].hidden;
    EXPECT_EQ(stashes_[segment.sequence].first_position, segment.first_position);
    EXPECT_EQ(std::ssize(hidden), segment.num_tokens());
  }
  for (int layer = layers.begin; layer < layers.end; ++layer) {
    uint64_t attention = 0;
    for (int position = 0; position < segment.first_position; ++position) {
      attention = mix(attention, entry(layer, segment, position));
    }
    for (int i = 0; i < segment.num_tokens(); ++i) {
      const int position = segment.first_position + i;
      entry(layer, segment, position) = kv_entry(hidden[i], layer, position);
      attention = mix(attention, entry(layer, segment, position));
      hidden[i] = mix(hidden[i], attention);
      EXPECT_EQ(visited[position]++, layer) << "a token takes the layers in another order";
    }
  }
  const uint64_t last = hidden.back();
  if (layers.end < limits_.num_layers) {
    stashes_[segment.sequence] = {std::move(hidden), segment.first_position};
  }
  return last;
}

uint64_t& FakeExecutor::entry(int layer, const StepSegment& segment, int position) {
  const int page = segment.pages[position / limits_.page_size];
  return cache_[layer][page * limits_.page_size + position % limits_.page_size];
}

void FakeExecutor::drop_stash() {
  stashes_dropped_ += static_cast<int>(stashes_.size());
  stashes_.clear();
}

void FakeExecutor::clear_page(int32_t page) {
  for (std::vector<uint64_t>& layer : cache_) {
    std::fill_n(layer.begin() + page * limits_.page_size, limits_.page_size, 0);
  }
}

bool FakeExecutor::is_complete(int32_t page) const {
  return std::all_of(cache_.begin(), cache_.end(), [&](const std::vector<uint64_t>& layer) {
    const auto begin = layer.begin() + page * limits_.page_size;
    return std::count(begin, begin + limits_.page_size, 0) == 0;
  });
}

}  // namespace fib::testing
