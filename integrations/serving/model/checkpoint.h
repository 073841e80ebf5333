#pragma once

// The tensors of a Hugging Face checkpoint: one model.safetensors, or shards by
// model.safetensors.index.json. Mapped, never copied.

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "integrations/serving/model/model_config.h"
#include "signatures/base/safetensors.h"

namespace fib {

class Checkpoint {
 public:
  // Errors: no weights in the folder, a shard that the index names and that isn't there, a tensor
  // that is in another shard than the index says, or in two; and all that SafetensorsFile refuses.
  static Result<Checkpoint> open(const std::filesystem::path& folder);

  // kNotFound names the tensor and the nearest names; kInvalidInput a wrong dtype or shape, with
  // what was expected and what is there.
  Result<StoredTensor> tensor(std::string_view name, DType dtype,
                              const std::vector<int64_t>& shape) const;
  const StoredTensor* find(std::string_view name) const;
  std::vector<std::string> names() const;  // sorted
  const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, StoredTensor, std::less<>> tensors_;
};

// One weight as the signatures want it: the tensors of the checkpoint, stacked one after the other
// along the first dimension (q, k and v; gate and up; all experts).
struct WeightSpec {
  std::string name;               // "layers.3.qkv"
  DType dtype = DType::kBFloat16;
  std::vector<int64_t> shape;     // stacked
  struct Part {
    std::string tensor;           // "model.layers.3.self_attn.q_proj.weight"
    std::vector<int64_t> shape;
  };
  std::vector<Part> parts;        // in order; their bytes add up to the whole
};

// Every weight of the model in the order of its use. Names within a layer: input_norm, qkv, q_norm,
// k_norm, o, post_norm, and router, w13 or w13_packed and w13_scale, w2 or w2_packed and w2_scale,
// or gate_up and down; outside: embedding, final_norm, lm_head (absent where tied).
std::vector<WeightSpec> weight_specs(const ModelConfig& config);

// Checks that the checkpoint has exactly these weights, with these dtypes and shapes: missing ones,
// misshapen ones and ones that the model doesn't know, all in one error. `weight_shape` of
// pack-quantized tensors is read and checked too; rotary inv_freq buffers are ignored.
Result<void> check_weights(const Checkpoint& checkpoint, const std::vector<WeightSpec>& specs);

}  // namespace fib
