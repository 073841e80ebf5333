#pragma once

// A bfloat16 mixture-of-experts checkpoint to one whose routed experts are pack-quantized INT4 in
// groups of 32; everything else stays as it is.

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "integrations/serving/model/int4.h"
#include "signatures/base/json.h"

namespace fib {

struct QuantizeOptions {
  std::filesystem::path source;
  std::filesystem::path target;  // must not exist, or be an empty folder
  ScaleRule scale_rule = ScaleRule::kLeastError;
  size_t shard_bytes = size_t{4} << 30;
  int num_threads = 1;
  // Tensors done, of how many; called from one thread at a time.
  std::function<void(int done, int total)> on_progress;
};

// Relative: root of the mean square of the rounding over that of the weights.
struct QuantizeReport {
  struct Layer {
    int layer = 0;
    double relative_rms_error = 0;
  };
  struct Matrix {
    std::string tensor;
    double relative_rms_error = 0;
  };
  std::vector<Layer> layers;  // those with experts, in order
  Matrix worst;
  double relative_rms_error = 0;  // of all experts
  int quantized_tensors = 0, copied_tensors = 0;
  size_t source_bytes = 0, target_bytes = 0;  // of the tensors

  Json to_json() const;
};

// Writes into a temporary folder beside `target` and renames it when all is there, so that a reader
// sees the whole checkpoint or none; what fails leaves nothing behind. Tokenizer and generation
// files come along, config.json gets its quantization_config. Errors: all that reading and checking
// the source may say; kUnsupported for a model without experts; kConflict where they are INT4
// already, or where the target is there.
Result<QuantizeReport> quantize_checkpoint(const QuantizeOptions& options);

}  // namespace fib
