#pragma once

// The bundled model on a target, stepped by hand.

#include <gtest/gtest.h>

#include "integrations/serving/model/load_model.h"
#include "signatures/base/file.h"

namespace fib {

inline const std::filesystem::path kSource = FIB_SOURCE_DIR;
inline const std::filesystem::path kTinyModel =
    kSource / "integrations/serving/models/fib-tiny-moe";

struct ServedModelUnderTest {
  std::unique_ptr<ServingDevice> device;
  std::unique_ptr<Dispatch> dispatch;
  std::unique_ptr<ModelExecutor> executor;
};

inline HouseDispatchOptions house_options() {
  return {.definitions = kSource / "signatures/definitions",
          .solutions = kSource / "leaderboard/solutions",
          .abi = kSource / "harness/abi",
          .device_sources = kSource / "runners/cuda/device",
          .cache_folder = std::filesystem::path(FIB_BINARY_DIR) / "serving-test-cache",
          .worker_executable = FIB_TEST_WORKER};
}

// Error kEnvironment: there is no such device here.
inline Result<ServedModelUnderTest> open_tiny_model(const std::string& target,
                                                    ExecutorOptions options = {}, int threads = 2) {
  ServedModelUnderTest model;
  model.device = target == "cpu" ? FIB_TRY(open_cpu_device(threads)) : FIB_TRY(open_cuda_device(0));
  model.dispatch = FIB_TRY(open_house_dispatch(*model.device, house_options()));
  if (options.kv_bytes == 0) options.kv_bytes = size_t{64} << 20;
  model.executor = FIB_TRY(load_model(*model.dispatch, {.folder = kTinyModel}, options, {}));
  return model;
}

// One sequence, alone, on pages of its own.
class SteppedSequence {
 public:
  SteppedSequence(ModelExecutor& executor, std::vector<TokenId> prompt, int first_page = 0)
      : executor_(executor), tokens_(std::move(prompt)) {
    const ExecutorLimits& limits = executor.limits();
    for (int page = 0; page * limits.page_size < limits.max_positions; ++page) {
      pages_.push_back(first_page + page);
    }
  }

  // All of the prompt at once; the logprobs of the next token's best.
  Result<ChosenToken> prefill(int logprobs = -1) {
    Step step;
    step.prefill = {{.tokens = tokens_, .pages = pages(), .wants_token = true}};
    step.prefill_layers = {0, executor_.limits().num_layers};
    return run(step, logprobs);
  }
  // Goes on with this token.
  Result<ChosenToken> decode(TokenId token, int logprobs = -1) {
    tokens_.push_back(token);
    Step step;
    step.decode = {{.tokens = std::span(tokens_).last(1),
                    .first_position = static_cast<int>(tokens_.size()) - 1,
                    .pages = pages(),
                    .wants_token = true}};
    return run(step, logprobs);
  }

 private:
  std::span<const int32_t> pages() const {
    const auto page_size = static_cast<size_t>(executor_.limits().page_size);
    return std::span(pages_).first((tokens_.size() + page_size - 1) / page_size);
  }
  Result<ChosenToken> run(Step& step, int logprobs) {
    step.choices = {{.temperature = 0.0f, .logprobs = logprobs}};
    return FIB_TRY(executor_.run(step)).tokens.at(0);
  }

  ModelExecutor& executor_;
  std::vector<TokenId> tokens_;
  std::vector<int32_t> pages_;
};

}  // namespace fib
