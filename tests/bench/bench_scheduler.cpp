// The engine's host work a step, without a device: 64 sequences decode at contexts of 4096 tokens.
// The promise is 0.3 ms at most. Telling listeners is part of it, the executor is not.

#include <benchmark/benchmark.h>

#include <stdexcept>

#include "integrations/serving/engine/scheduler.h"

namespace fib {
namespace {

constexpr int kRows = 64, kContext = 4096, kVocabSize = 151'936;

const ExecutorLimits kLimits{.num_layers = 48,
                             .vocab_size = kVocabSize,
                             .max_positions = 262'144,
                             .page_size = 16,
                             .num_pages = 2 * kRows * kContext / 16,
                             .max_step_tokens = 16'384,
                             .max_decode_rows = 256,
                             .is_moe = true};

class SilentListener : public RequestListener {
 public:
  void on_token(const GeneratedToken&) override {}
  void on_end(FinishReason, const RequestUsage&, const std::optional<Error>&) override {}
};

class Load {
 public:
  Load(const SamplingParams& sampling, EngineConfig config)
      : sampling_(sampling), config_(std::move(config)), scheduler_(kLimits, config_) {
    sampling_.max_tokens = kLimits.max_positions;
    sampling_.ignore_eos = true;
  }

  void add(int num_tokens, TokenId first) {
    std::vector<TokenId> prompt(num_tokens);
    for (int i = 0; i < num_tokens; ++i) prompt[i] = (first + 7 * i) % kVocabSize;
    auto sequence =
        Sequence::make({.prompt = std::move(prompt), .sampling = sampling_, .listener = listener_},
                       kLimits, config_);
    if (!sequence) throw std::runtime_error(sequence.error().to_string());
    (*sequence)->id = next_id_++;
    scheduler_.add(*std::move(sequence));
  }

  // Returns how many rows decoded.
  int step() {
    const Step* step = scheduler_.plan();
    const int rows = static_cast<int>(step->decode.size());
    StepResult result;
    for (size_t i = 0; i < step->choices.size(); ++i) {
      result.tokens.push_back({.token = next_token_});
      next_token_ = (next_token_ + 1) % kVocabSize;
    }
    scheduler_.complete(std::move(result));
    for (RequestEvent& event : scheduler_.take_events()) {
      if (const auto* token = std::get_if<GeneratedToken>(&event.what)) {
        event.listener->on_token(*token);
      }
    }
    return rows;
  }

  void decode_from_context() {
    for (int row = 0; row < kRows; ++row) add(kContext, row * 1000);
    while (step() < kRows) {
    }
  }

 private:
  SamplingParams sampling_;
  const EngineConfig config_;
  Scheduler scheduler_;
  std::shared_ptr<RequestListener> listener_ = std::make_shared<SilentListener>();
  RequestId next_id_ = 1;
  TokenId next_token_ = 0;
};

// The cache holds twice the contexts; within so many steps nothing is preempted.
constexpr int kSteps = 3000;

void decode(benchmark::State& state) {
  Load load({}, {});
  load.decode_from_context();
  for (auto _ : state) load.step();
}
BENCHMARK(decode)->Iterations(kSteps)->Unit(benchmark::kMicrosecond);

void decode_with_penalties(benchmark::State& state) {
  Load load({.repetition_penalty = 1.1f, .presence_penalty = 0.5f, .frequency_penalty = 0.5f}, {});
  load.decode_from_context();
  for (auto _ : state) load.step();
}
BENCHMARK(decode_with_penalties)->Iterations(kSteps)->Unit(benchmark::kMicrosecond);

// Each step also takes 512 tokens of a prompt, in the order of arrival.
void decode_beside_chunks(benchmark::State& state) {
  Load load({}, {});
  load.decode_from_context();
  load.add(200 * 512, 3);
  for (auto _ : state) load.step();
}
BENCHMARK(decode_beside_chunks)->Iterations(199)->Unit(benchmark::kMicrosecond);

// The first in the queue has a prompt that is cached but for its end, and waits for memory: each
// step looks its blocks up.
void decode_while_one_waits(benchmark::State& state) {
  Load load({}, {.watermark = 0.4});
  load.decode_from_context();
  load.add(kContext + 16 * 4096, 0);
  for (auto _ : state) load.step();
}
BENCHMARK(decode_while_one_waits)->Iterations(kSteps)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace fib

BENCHMARK_MAIN();
