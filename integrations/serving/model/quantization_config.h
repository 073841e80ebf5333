#pragma once

// The one quantised form that is served: compressed-tensors' `pack-quantized`, symmetric INT4 in
// groups of 32 along the input, of the routed experts only.

#include "integrations/serving/model/model_config.h"

namespace fib {

inline constexpr int kInt4GroupSize = 32;  // weights that share a scale
inline constexpr int kInt4PerWord = 8;     // in an int32

// Reads config.json's /quantization_config. kUnsupported says what of it is another form.
Result<ExpertFormat> read_quantization(const JsonView& view, const ModelConfig& model);

// What a quantised checkpoint's config.json says.
Json int4_quantization_json();

}  // namespace fib
