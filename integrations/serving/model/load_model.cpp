#include "integrations/serving/model/load_model.h"

#include <fmt/format.h>

#include <optional>
#include <string>

namespace fib {

Result<std::unique_ptr<ModelExecutor>> load_model(Dispatch& dispatch, const ModelSource& source,
                                                  const ExecutorOptions& options,
                                                  const LoadProgress& progress) {
  ModelConfig config = FIB_TRY(read_model_config(source.folder));
  if (options.max_positions > config.max_positions) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("{} tokens are more than the model's {} positions",
                            options.max_positions, config.max_positions),
                "longest sequence (--max-model-len)", "ask for no more, or leave it out");
  }
  const std::vector<WeightSpec> specs = weight_specs(config);
  std::optional<Checkpoint> checkpoint;
  if (source.format == LoadFormat::kCheckpoint) {
    checkpoint = FIB_TRY(Checkpoint::open(source.folder));
    FIB_CHECK(check_weights(*checkpoint, specs));
  }
  FIB_CHECK(dispatch.prefetch(
      model_signatures(config, options.page_size),
      [&](size_t done, size_t total, std::string_view name) {
        if (progress) progress("building " + std::string(name), done, total);
      }));
  const auto weight_progress = [&](size_t done, size_t total) {
    if (progress) progress("loading weights", done, total);
  };
  ServingDevice& device = dispatch.device();
  Weights weights =
      checkpoint ? FIB_TRY(Weights::load(device, specs, *checkpoint, weight_progress))
                 : FIB_TRY(Weights::dummy(device, specs, source.dummy_seed, weight_progress));
  return ModelExecutor::create(dispatch, std::move(config), std::move(weights), options);
}

}  // namespace fib
