#pragma once

// What a Hugging Face config.json says of a model, in the terms that the layer plans need.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "integrations/serving/engine/request.h"
#include "signatures/base/json.h"

namespace fib {

enum class Architecture { kQwen3Moe, kLlama, kQwen3 };
enum class AttentionKind { kFull /* later: kWindow, kMla, kLinear */ };
enum class FfnKind { kDense, kExperts };
enum class ExpertFormat { kBFloat16, kInt4Group32 };

struct LayerConfig {
  AttentionKind attention = AttentionKind::kFull;
  FfnKind ffn = FfnKind::kDense;
};

struct ModelConfig {
  Architecture architecture = Architecture::kQwen3Moe;
  std::string model_type;            // "qwen3_moe"
  int vocab_size = 0;
  int hidden_size = 0;
  int num_heads = 0, num_kv_heads = 0, head_dim = 0;
  int intermediate_size = 0;         // of dense layers
  int num_experts = 0, experts_per_token = 0, expert_size = 0;  // expert_size: I of one expert
  bool renormalises_routing = true;  // norm_topk_prob
  ExpertFormat expert_format = ExpertFormat::kBFloat16;
  bool has_qk_norm = false;
  double rms_norm_eps = 1e-6;
  double rope_theta = 1e4;
  // rope_scaling of kind "llama3" or "linear"; nullopt: none. Others are kUnsupported.
  struct RopeScaling {
    std::string kind;
    double factor = 1.0, low_frequency_factor = 1.0, high_frequency_factor = 4.0;
    int original_positions = 0;
  };
  std::optional<RopeScaling> rope_scaling;
  int max_positions = 0;
  bool has_tied_embedding = false;
  std::vector<LayerConfig> layers;
  std::vector<TokenId> eos_tokens;   // of generation_config.json, else config.json
  std::optional<TokenId> bos_token;
  struct {                           // of generation_config.json; what requests start from
    float temperature = 1.0f, top_p = 1.0f;
    int top_k = 0;
  } sampling;

  bool is_moe() const { return num_experts > 0; }
  size_t kv_bytes_per_token() const {  // bfloat16 keys and values of all layers
    return layers.size() * 2 * 2 * static_cast<size_t>(num_kv_heads) * static_cast<size_t>(head_dim);
  }
};

// Reads config.json and, if present, generation_config.json of `folder`. Foreign files: unknown keys
// are ignored, wrong ones (types, sizes that don't divide, unsupported quantisation, activation or
// architecture) are located errors.
Result<ModelConfig> read_model_config(const std::filesystem::path& folder);

}  // namespace fib
