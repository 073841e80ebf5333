#pragma once

// What the commands that serve a trace share: which trace, how fast, how long, how many requests.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "integrations/serving/traffic/traffic.h"

namespace CLI {
class App;
}

namespace fib {

struct TrafficArgs {
  std::string trace, format;
  double rate_scale = 1.0;
  std::optional<double> rate;
  double length_scale = 1.0;
  size_t first_request = 0, num_requests = 0, num_warm_up = 0;
  std::string corpus;
  float temperature = 0.0f;
  uint64_t seed = 1;
};
// All but --requests and --warm-up, whose meaning differs.
void add_traffic_options(CLI::App& command, TrafficArgs& args);

// "AzureLLMInferenceTrace_conv, rates x 2, lengths x 0.25": what was served, in a few words.
std::string describe(const TrafficArgs& args);

Result<RequestTrace> read_trace(const TrafficArgs& args);

// What Traffic::plan wants; the corpus is read with the model's tokenizer.
Result<TrafficOptions> traffic_options(const TrafficArgs& args,
                                       const std::filesystem::path& model_folder, int vocab_size,
                                       int max_tokens);

}  // namespace fib
