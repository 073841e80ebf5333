#include "integrations/serving/model/model_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "integrations/serving/model/quantization_config.h"

namespace fib {
namespace {

struct KnownArchitecture {
  std::string_view name;  // of config.json's /architectures
  Architecture architecture;
  std::string_view model_type;
  bool has_qk_norm;
  bool has_experts;
};
constexpr KnownArchitecture kArchitectures[] = {
    {"Qwen3MoeForCausalLM", Architecture::kQwen3Moe, "qwen3_moe", true, true},
    {"Qwen3ForCausalLM", Architecture::kQwen3, "qwen3", true, false},
    {"LlamaForCausalLM", Architecture::kLlama, "llama", false, false},
};

constexpr int64_t kMostLayers = 1024, kMostExperts = 4096;
constexpr int64_t kLargestSize = 1 << 24;  // of a vocabulary, a hidden size, a count of positions

Failure unsupported(const JsonView& view, std::string message, std::string remedy = {}) {
  return fail(ErrorCode::kUnsupported, std::move(message), view.location(), std::move(remedy));
}

Result<int> size_in(const JsonView& view, int64_t most) {
  const int64_t value = FIB_TRY(view.integer());
  if (value < 1 || value > most) return view.error(fmt::format("{} is not in 1..{}", value, most));
  return static_cast<int>(value);
}

Result<int> size_at(const JsonView& config, std::string_view key, int64_t most = kLargestSize) {
  return size_in(FIB_TRY(config.at(key)), most);
}

Result<double> positive(const JsonView& view) {
  const double value = FIB_TRY(view.number());
  if (!(value > 0) || !std::isfinite(value)) return view.error("must be a positive number");
  return value;
}

Result<bool> flag(const JsonView& config, std::string_view key, bool otherwise) {
  const auto member = config.find(key);
  return member ? member->boolean() : Result<bool>(otherwise);
}

Result<const KnownArchitecture*> find_architecture(const JsonView& config) {
  const JsonView list = FIB_TRY(config.at("architectures"));
  std::vector<std::string_view> known;
  for (const KnownArchitecture& entry : kArchitectures) known.push_back(entry.name);
  const std::vector<std::string> names = FIB_TRY(list.strings());
  for (const std::string& name : names)
    if (const auto* found = std::ranges::find(kArchitectures, name, &KnownArchitecture::name);
        found != std::end(kArchitectures))
      return found;
  return unsupported(list, fmt::format("unknown architecture '{}'", fmt::join(names, "', '")),
                     fmt::format("known are {}", fmt::join(known, ", ")));
}

// What the layer plans don't have. Each key that changes the arithmetic is named.
Result<void> check_supported(const JsonView& config) {
  if (const auto act = config.find("hidden_act"); act && FIB_TRY(act->string()) != "silu")
    return unsupported(*act, fmt::format("activation '{}'", FIB_TRY(act->string())),
                       "only silu is computed");
  for (std::string_view key : {"attention_bias", "mlp_bias", "qkv_bias"})
    if (const auto bias = config.find(key); bias && FIB_TRY(bias->boolean()))
      return unsupported(*bias, "biases are not computed");
  if (FIB_TRY(flag(config, "use_sliding_window", false)))
    return unsupported(FIB_TRY(config.at("use_sliding_window")),
                       "sliding-window attention is not computed");
  if (const auto partial = config.find("partial_rotary_factor");
      partial && FIB_TRY(partial->number()) != 1)
    return unsupported(*partial, "rotary embedding of a part of the head is not computed");
  for (std::string_view key : {"torch_dtype", "dtype"})
    if (const auto dtype = config.find(key); dtype && FIB_TRY(dtype->string()) != "bfloat16")
      return unsupported(*dtype, fmt::format("weights of {}", FIB_TRY(dtype->string())),
                         "only bfloat16 checkpoints are served");
  if (const auto types = config.find("layer_types"))
    for (const JsonView& type : FIB_TRY(types->array()))
      if (FIB_TRY(type.string()) != "full_attention")
        return unsupported(type, fmt::format("attention of kind '{}'", FIB_TRY(type.string())));
  return {};
}

Result<void> read_sizes(const JsonView& config, ModelConfig& model) {
  model.vocab_size = FIB_TRY(size_at(config, "vocab_size"));
  model.hidden_size = FIB_TRY(size_at(config, "hidden_size"));
  model.num_heads = FIB_TRY(size_at(config, "num_attention_heads"));
  model.max_positions = FIB_TRY(size_at(config, "max_position_embeddings"));
  const auto kv_heads = config.find("num_key_value_heads");
  model.num_kv_heads = kv_heads ? FIB_TRY(size_in(*kv_heads, kLargestSize)) : model.num_heads;
  if (model.num_heads % model.num_kv_heads != 0)
    return kv_heads->error(fmt::format("{} key-value heads don't divide {} query heads",
                                       model.num_kv_heads, model.num_heads));
  if (const auto head_dim = config.find("head_dim")) {
    model.head_dim = FIB_TRY(size_in(*head_dim, kLargestSize));
    if (model.head_dim % 2 != 0) return head_dim->error("rotary embedding needs an even size");
  } else {
    const JsonView hidden = FIB_TRY(config.at("hidden_size"));
    if (model.hidden_size % (2 * model.num_heads) != 0)
      return hidden.error(fmt::format("without head_dim, {} must be {} heads of an even size",
                                      model.hidden_size, model.num_heads));
    model.head_dim = model.hidden_size / model.num_heads;
  }
  if (const auto eps = config.find("rms_norm_eps")) model.rms_norm_eps = FIB_TRY(positive(*eps));
  model.has_tied_embedding = FIB_TRY(flag(config, "tie_word_embeddings", false));
  return {};
}

// "rope_theta" and "rope_scaling", or both in "rope_parameters", as newer files have it.
Result<void> read_rope(const JsonView& config, ModelConfig& model) {
  const auto parameters = config.find("rope_parameters");
  const JsonView holder = parameters ? *parameters : config;
  if (const auto theta = holder.find("rope_theta")) model.rope_theta = FIB_TRY(positive(*theta));
  const auto scaling = parameters ? parameters : config.find("rope_scaling");
  if (!scaling) return {};
  auto type = scaling->find("rope_type");
  if (!type) type = scaling->find("type");
  if (!type) {
    if (parameters) return {};
    return scaling->error("'rope_type' is missing");
  }
  const std::string kind = FIB_TRY(type->string());
  if (kind == "default") return {};
  if (kind != "llama3" && kind != "linear")
    return unsupported(*type, fmt::format("rotary scaling of kind '{}'", kind),
                       "known are llama3, linear and default");

  ModelConfig::RopeScaling rope{.kind = kind};
  rope.factor = FIB_TRY(positive(FIB_TRY(scaling->at("factor"))));
  if (kind == "llama3") {
    rope.low_frequency_factor = FIB_TRY(positive(FIB_TRY(scaling->at("low_freq_factor"))));
    rope.high_frequency_factor = FIB_TRY(positive(FIB_TRY(scaling->at("high_freq_factor"))));
    if (rope.high_frequency_factor <= rope.low_frequency_factor)
      return scaling->error("high_freq_factor must be above low_freq_factor");
    rope.original_positions = FIB_TRY(size_at(*scaling, "original_max_position_embeddings"));
  }
  model.rope_scaling = rope;
  return {};
}

Result<void> read_experts(const JsonView& config, ModelConfig& model) {
  model.num_experts = FIB_TRY(size_at(config, "num_experts", kMostExperts));
  const JsonView per_token = FIB_TRY(config.at("num_experts_per_tok"));
  model.experts_per_token = FIB_TRY(size_in(per_token, kMostExperts));
  if (model.experts_per_token > model.num_experts)
    return per_token.error(fmt::format("a token cannot be sent to {} of {} experts",
                                       model.experts_per_token, model.num_experts));
  model.expert_size = FIB_TRY(size_at(config, "moe_intermediate_size"));
  model.renormalises_routing = FIB_TRY(flag(config, "norm_topk_prob", false));
  return {};
}

// Qwen's rule: every decoder_sparse_step-th layer has experts, but for those in mlp_only_layers.
Result<void> read_layers(const JsonView& config, ModelConfig& model) {
  const int count = FIB_TRY(size_at(config, "num_hidden_layers", kMostLayers));
  model.layers.assign(static_cast<size_t>(count), LayerConfig{});
  if (!model.is_moe()) return {};
  const auto step_view = config.find("decoder_sparse_step");
  const int step = step_view ? FIB_TRY(size_in(*step_view, kMostLayers)) : 1;
  for (int layer = 0; layer < count; ++layer)
    if ((layer + 1) % step == 0) model.layers[static_cast<size_t>(layer)].ffn = FfnKind::kExperts;
  if (const auto dense = config.find("mlp_only_layers"))
    for (const JsonView& view : FIB_TRY(dense->array())) {
      const int64_t layer = FIB_TRY(view.integer());
      if (layer < 0 || layer >= count)
        return view.error(fmt::format("layer {} is not one of {}", layer, count));
      model.layers[static_cast<size_t>(layer)].ffn = FfnKind::kDense;
    }
  return {};
}

Result<TokenId> read_token(const JsonView& view, const ModelConfig& model) {
  const int64_t token = FIB_TRY(view.integer());
  if (token < 0 || token >= model.vocab_size)
    return view.error(fmt::format("token {} is not in 0..{}", token, model.vocab_size - 1));
  return static_cast<TokenId>(token);
}

// What both files may say; the later one read wins.
Result<void> read_tokens(const JsonView& file, ModelConfig& model) {
  if (const auto eos = file.find("eos_token_id")) {
    std::vector<TokenId> tokens;
    if (eos->json().is_array()) {
      for (const JsonView& view : FIB_TRY(eos->array()))
        tokens.push_back(FIB_TRY(read_token(view, model)));
    } else {
      tokens.push_back(FIB_TRY(read_token(*eos, model)));
    }
    model.eos_tokens = std::move(tokens);
  }
  if (const auto bos = file.find("bos_token_id"))
    model.bos_token = FIB_TRY(read_token(*bos, model));
  return {};
}

Result<void> read_generation(const JsonView& file, ModelConfig& model) {
  FIB_CHECK(read_tokens(file, model));
  auto& sampling = model.sampling;
  if (const auto view = file.find("temperature")) {
    const double value = FIB_TRY(view->number());
    if (!(value >= 0) || !std::isfinite(value)) return view->error("must be 0 or more");
    sampling.temperature = static_cast<float>(value);
  }
  if (const auto view = file.find("top_p")) {
    const double value = FIB_TRY(view->number());
    if (!(value > 0 && value <= 1)) return view->error("must be above 0 and at most 1");
    sampling.top_p = static_cast<float>(value);
  }
  if (const auto view = file.find("top_k")) {
    const int64_t value = FIB_TRY(view->integer());
    if (value < 0 || value > std::numeric_limits<int>::max())
      return view->error("must be 0 or more");
    sampling.top_k = static_cast<int>(value);
  }
  // Greedy decoding, where the file asks for it in so many words.
  if (!FIB_TRY(flag(file, "do_sample", true))) sampling.temperature = 0;
  return {};
}

// Divisibility that the packed format adds.
Result<void> check_groups(const JsonView& config, const ModelConfig& model) {
  if (model.expert_format != ExpertFormat::kInt4Group32) return {};
  for (std::string_view key : {"hidden_size", "moe_intermediate_size"}) {
    const JsonView view = FIB_TRY(config.at(key));
    if (FIB_TRY(view.integer()) % kInt4GroupSize != 0)
      return view.error(fmt::format("INT4 experts need a multiple of {}", kInt4GroupSize));
  }
  return {};
}

}  // namespace

Result<ModelConfig> read_model_config(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  const Json json = FIB_TRY(read_json_file(path));
  const JsonView config(json, path.string());

  const KnownArchitecture& known = *FIB_TRY(find_architecture(config));
  ModelConfig model;
  model.architecture = known.architecture;
  model.model_type = known.model_type;
  model.has_qk_norm = known.has_qk_norm;
  FIB_CHECK(check_supported(config));
  FIB_CHECK(read_sizes(config, model));
  FIB_CHECK(read_rope(config, model));
  if (known.has_experts) FIB_CHECK(read_experts(config, model));
  FIB_CHECK(read_layers(config, model));
  const bool has_dense = std::ranges::any_of(
      model.layers, [](const LayerConfig& layer) { return layer.ffn == FfnKind::kDense; });
  if (has_dense) model.intermediate_size = FIB_TRY(size_at(config, "intermediate_size"));
  if (const auto quantization = config.find("quantization_config"))
    model.expert_format = FIB_TRY(read_quantization(*quantization, model));
  FIB_CHECK(check_groups(config, model));

  FIB_CHECK(read_tokens(config, model));
  const std::filesystem::path generation = folder / "generation_config.json";
  if (std::filesystem::exists(generation)) {
    const Json generation_json = FIB_TRY(read_json_file(generation));
    FIB_CHECK(read_generation(JsonView(generation_json, generation.string()), model));
  }
  return model;
}

}  // namespace fib
