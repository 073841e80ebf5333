#pragma once

// From a model's folder to an executor that runs it.

#include <filesystem>
#include <functional>
#include <memory>
#include <string_view>

#include "integrations/serving/model/model_executor.h"

namespace fib {

enum class LoadFormat {
  kCheckpoint,
  kDummy,  // config.json alone, random weights: for measuring
};

struct ModelSource {
  std::filesystem::path folder;
  LoadFormat format = LoadFormat::kCheckpoint;
  uint64_t dummy_seed = 1;
};

// `done` of `total` of what is under way: "building gemm_bf16_n512_k256", "loading weights".
using LoadProgress =
    std::function<void(std::string_view activity, size_t done, size_t total)>;

// Reads and checks the checkpoint before anything is built or copied.
Result<std::unique_ptr<ModelExecutor>> load_model(Dispatch& dispatch, const ModelSource& source,
                                                  const ExecutorOptions& options,
                                                  const LoadProgress& progress);

}  // namespace fib
