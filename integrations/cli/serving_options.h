#pragma once

// What the commands that run a model share: which model, on what, with how much memory, scheduled
// how.

#include <filesystem>
#include <memory>
#include <string>

#include "integrations/cli/context.h"
#include "integrations/cli/serving_kernels.h"
#include "integrations/serving/engine/engine.h"
#include "integrations/serving/model/load_model.h"
#include "integrations/serving/tokenizer/tokenizer.h"

namespace CLI {
class App;
}

namespace fib {

struct ServingArgs {
  std::string model = "fib-tiny-moe";  // a bundled one's name, or a folder
  std::string target = "cpu";
  int device = 0;
  std::string load_format = "checkpoint";
  std::string kernels;                 // "house", or a package; else the default package
  int threads = 0;
  int max_model_len = 0;
  std::string kv_cache;                // a size, as 2G
  int max_batch = 256;
  std::string prefill = "chunked";
  int chunk_tokens = 512;
  int cohort_tokens = 8192;
  double step_timeout_s = kDefaultStepTimeoutS;
  int profile_every = 0;               // an option of the commands that show the times
  int profile_prefill_every = 0;       // 0: as profile_every
  bool has_no_prefix_cache = false;
  bool has_no_graphs = false;
};
void add_serving_options(CLI::App& app, ServingArgs& args);

// A model that runs; what is below is used by what is above.
struct ServingStack {
  std::string model_id;                // the folder's name
  std::filesystem::path folder;
  std::unique_ptr<ServingDevice> device;
  PackageLibraryPtr package;           // of the kernels at the start; null: the house's solutions
  std::unique_ptr<SwappableDispatch> dispatch;
  std::unique_ptr<ModelExecutor> executor;
  EngineConfig engine_config;
};
// Shows its progress on a terminal.
Result<ServingStack> open_serving(const Context& context, const ServingArgs& args);

// The folder of a bundled model, or the path itself. kNotFound lists the bundled ones.
Result<std::filesystem::path> find_model(const Context& context, const std::string& name);

}  // namespace fib
