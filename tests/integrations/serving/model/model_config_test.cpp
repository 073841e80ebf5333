#include "integrations/serving/model/model_config.h"

#include <gtest/gtest.h>

#include <functional>

#include "tests/integrations/serving/model/tiny_checkpoint.h"

namespace fib {
namespace {

class ConfigFolder {
 public:
  explicit ConfigFolder(const Json& config) { write("config.json", config); }
  void write(const std::string& name, const Json& json) {
    EXPECT_TRUE(write_file_atomically(folder_ / name, dump_json(json)));
  }
  Result<ModelConfig> read() const { return read_model_config(folder_.path()); }
  std::string file(const std::string& name) const { return (folder_ / name).string(); }

 private:
  ScratchFolder folder_;
};

ModelConfig read(const Json& config) {
  auto model = ConfigFolder(config).read();
  EXPECT_TRUE(model) << model.error().to_string();
  return model.value_or(ModelConfig{});
}

std::vector<FfnKind> ffns(const ModelConfig& model) {
  std::vector<FfnKind> kinds;
  for (const LayerConfig& layer : model.layers) kinds.push_back(layer.ffn);
  return kinds;
}

TEST(ModelConfig, ReadsTheBundledModel) {
  const auto model = read_model_config(kBundledModel);
  ASSERT_TRUE(model) << model.error().to_string();
  EXPECT_EQ(model->architecture, Architecture::kQwen3Moe);
  EXPECT_EQ(model->model_type, "qwen3_moe");
  EXPECT_EQ(model->vocab_size, 4096);
  EXPECT_EQ(model->hidden_size, 256);
  EXPECT_EQ(model->num_heads, 4);
  EXPECT_EQ(model->num_kv_heads, 2);
  EXPECT_EQ(model->head_dim, 64);
  EXPECT_EQ(model->num_experts, 32);
  EXPECT_EQ(model->experts_per_token, 4);
  EXPECT_EQ(model->expert_size, 128);
  EXPECT_TRUE(model->renormalises_routing);
  EXPECT_EQ(model->expert_format, ExpertFormat::kInt4Group32);
  EXPECT_TRUE(model->has_qk_norm);
  EXPECT_TRUE(model->has_tied_embedding);
  EXPECT_EQ(model->rope_theta, 1e5);
  EXPECT_FALSE(model->rope_scaling);
  EXPECT_EQ(model->max_positions, 4096);
  EXPECT_EQ(ffns(*model), std::vector(8, FfnKind::kExperts));
  EXPECT_EQ(model->eos_tokens, std::vector<TokenId>{0});
  EXPECT_EQ(model->bos_token, 0);
  EXPECT_FLOAT_EQ(model->sampling.temperature, 0.8f);
  EXPECT_FLOAT_EQ(model->sampling.top_p, 0.95f);
}

TEST(ModelConfig, ReadsTheConfigurationsForDummyWeights) {
  const std::filesystem::path folder = FIB_SOURCE_DIR "/integrations/serving/model/configs";
  const auto qwen = read_model_config(folder / "qwen3-30b-a3b-int4");
  ASSERT_TRUE(qwen) << qwen.error().to_string();
  EXPECT_EQ(qwen->layers.size(), 48u);
  EXPECT_EQ(qwen->expert_format, ExpertFormat::kInt4Group32);
  EXPECT_EQ(qwen->kv_bytes_per_token(), 98304u);
  const auto llama = read_model_config(folder / "llama-3.1-8b");
  ASSERT_TRUE(llama) << llama.error().to_string();
  EXPECT_EQ(llama->architecture, Architecture::kLlama);
  EXPECT_FALSE(llama->is_moe());
  EXPECT_FALSE(llama->has_qk_norm);
  EXPECT_EQ(llama->intermediate_size, 14336);
  ASSERT_TRUE(llama->rope_scaling);
  EXPECT_EQ(llama->rope_scaling->kind, "llama3");
  EXPECT_EQ(llama->rope_scaling->factor, 8);
  EXPECT_EQ(llama->rope_scaling->original_positions, 8192);
  EXPECT_EQ(llama->eos_tokens, (std::vector<TokenId>{128001, 128008, 128009}));
}

TEST(ModelConfig, DenseQwenHasNormsAndNoExperts) {
  Json config = tiny_config();
  config["architectures"] = {"Qwen3ForCausalLM"};
  const ModelConfig model = read(config);
  EXPECT_EQ(model.architecture, Architecture::kQwen3);
  EXPECT_TRUE(model.has_qk_norm);
  EXPECT_FALSE(model.is_moe());
  EXPECT_EQ(model.intermediate_size, 128);
  EXPECT_EQ(ffns(model), std::vector(2, FfnKind::kDense));
}

TEST(ModelConfig, SomeLayersMayBeDense) {
  constexpr FfnKind kDense = FfnKind::kDense, kExperts = FfnKind::kExperts;
  Json config = tiny_config();
  config["num_hidden_layers"] = 5;
  config["decoder_sparse_step"] = 2;
  EXPECT_EQ(ffns(read(config)), (std::vector{kDense, kExperts, kDense, kExperts, kDense}));
  config["decoder_sparse_step"] = 1;
  config["mlp_only_layers"] = {0, 3};
  EXPECT_EQ(ffns(read(config)), (std::vector{kDense, kExperts, kExperts, kDense, kExperts}));
  EXPECT_EQ(read(config).intermediate_size, 128);
}

TEST(ModelConfig, DefaultsAreHuggingFaces) {
  Json config = tiny_config();
  for (const char* key : {"head_dim", "num_key_value_heads", "norm_topk_prob", "rope_theta",
                          "tie_word_embeddings", "rms_norm_eps", "bos_token_id"})
    config.erase(key);
  const ModelConfig model = read(config);
  EXPECT_EQ(model.head_dim, 16);
  EXPECT_EQ(model.num_kv_heads, 4);
  EXPECT_FALSE(model.renormalises_routing);
  EXPECT_EQ(model.rope_theta, 1e4);
  EXPECT_FALSE(model.has_tied_embedding);
  EXPECT_FALSE(model.bos_token);
}

TEST(ModelConfig, RopeIsReadInBothSpellings) {
  Json config = tiny_config();
  config["rope_scaling"] = {{"type", "linear"}, {"factor", 4}};
  EXPECT_EQ(read(config).rope_scaling->factor, 4);
  config["rope_scaling"] = {{"rope_type", "default"}};
  EXPECT_FALSE(read(config).rope_scaling);
  config.erase("rope_scaling");
  config.erase("rope_theta");
  config["rope_parameters"] = {{"rope_theta", 5e5}, {"rope_type", "linear"}, {"factor", 2}};
  EXPECT_EQ(read(config).rope_theta, 5e5);
  EXPECT_EQ(read(config).rope_scaling->kind, "linear");
  config["rope_parameters"] = {{"rope_theta", 5e5}};
  EXPECT_FALSE(read(config).rope_scaling);
}

TEST(ModelConfig, GenerationConfigGoesFirst) {
  ConfigFolder folder(tiny_config());
  EXPECT_EQ(folder.read()->eos_tokens, (std::vector<TokenId>{1, 2}));
  folder.write("generation_config.json",
               {{"eos_token_id", 7}, {"top_k", 20}, {"temperature", 0.6}});
  auto model = folder.read();
  ASSERT_TRUE(model) << model.error().to_string();
  EXPECT_EQ(model->eos_tokens, std::vector<TokenId>{7});
  EXPECT_EQ(model->bos_token, 0);
  EXPECT_EQ(model->sampling.top_k, 20);
  EXPECT_FLOAT_EQ(model->sampling.temperature, 0.6f);
  folder.write("generation_config.json", {{"do_sample", false}, {"temperature", 0.6}});
  EXPECT_EQ(folder.read()->sampling.temperature, 0.0f);

  const std::pair<const char*, Json> bad[] = {
      {"eos_token_id", 96}, {"temperature", -1}, {"top_p", 0}, {"top_p", 1.5}, {"top_k", -2}};
  for (const auto& [key, value] : bad) {
    folder.write("generation_config.json", {{key, value}});
    model = folder.read();
    ASSERT_FALSE(model) << key;
    EXPECT_EQ(model.error().where, folder.file("generation_config.json") + ": /" + key);
  }
}

struct BadCase {
  std::string name;
  std::function<void(Json&)> spoil;
  ErrorCode code;
  std::string place, message;
};

const BadCase kCases[] = {
    {"architecture", [](Json& j) { j["architectures"] = {"GPT2LMHeadModel"}; },
     ErrorCode::kUnsupported, "/architectures", "GPT2LMHeadModel"},
    {"no_architecture", [](Json& j) { j.erase("architectures"); }, ErrorCode::kInvalidInput, "",
     "'architectures'"},
    {"activation", [](Json& j) { j["hidden_act"] = "gelu"; }, ErrorCode::kUnsupported,
     "/hidden_act", "gelu"},
    {"bias", [](Json& j) { j["attention_bias"] = true; }, ErrorCode::kUnsupported,
     "/attention_bias", "bias"},
    {"window", [](Json& j) { j["use_sliding_window"] = true; }, ErrorCode::kUnsupported,
     "/use_sliding_window", "sliding"},
    {"layer_types",
     [](Json& j) {
       j["layer_types"] = {"full_attention", "sliding_attention"};
     },
     ErrorCode::kUnsupported, "/layer_types/1", "sliding_attention"},
    {"float16", [](Json& j) { j["torch_dtype"] = "float16"; }, ErrorCode::kUnsupported,
     "/torch_dtype", "float16"},
    {"partial_rope", [](Json& j) { j["partial_rotary_factor"] = 0.5; }, ErrorCode::kUnsupported,
     "/partial_rotary_factor", "part of the head"},
    {"yarn",
     [](Json& j) {
       j["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 4}};
     },
     ErrorCode::kUnsupported, "/rope_scaling/rope_type", "yarn"},
    {"scaling_without_type",
     [](Json& j) {
       j["rope_scaling"] = {{"factor", 4}};
     },
     ErrorCode::kInvalidInput, "/rope_scaling", "rope_type"},
    {"llama3_order",
     [](Json& j) {
       j["rope_scaling"] = {{"rope_type", "llama3"},
                            {"factor", 8},
                            {"low_freq_factor", 4},
                            {"high_freq_factor", 1},
                            {"original_max_position_embeddings", 64}};
     },
     ErrorCode::kInvalidInput, "/rope_scaling", "above low_freq_factor"},
    {"no_hidden", [](Json& j) { j.erase("hidden_size"); }, ErrorCode::kInvalidInput, "",
     "'hidden_size'"},
    {"text_size", [](Json& j) { j["hidden_size"] = "64"; }, ErrorCode::kInvalidInput,
     "/hidden_size", "integer"},
    {"zero_layers", [](Json& j) { j["num_hidden_layers"] = 0; }, ErrorCode::kInvalidInput,
     "/num_hidden_layers", "0 is not in 1.."},
    {"billion_layers", [](Json& j) { j["num_hidden_layers"] = 1'000'000'000; },
     ErrorCode::kInvalidInput, "/num_hidden_layers", "not in 1.."},
    {"heads", [](Json& j) { j["num_key_value_heads"] = 3; }, ErrorCode::kInvalidInput,
     "/num_key_value_heads", "don't divide"},
    {"odd_head", [](Json& j) { j["head_dim"] = 15; }, ErrorCode::kInvalidInput, "/head_dim",
     "even"},
    {"hidden_of_heads",
     [](Json& j) {
       j.erase("head_dim");
       j["hidden_size"] = 70;
     },
     ErrorCode::kInvalidInput, "/hidden_size", "heads"},
    {"eps", [](Json& j) { j["rms_norm_eps"] = -1e-6; }, ErrorCode::kInvalidInput, "/rms_norm_eps",
     "positive"},
    {"too_many_experts", [](Json& j) { j["num_experts_per_tok"] = 4; }, ErrorCode::kInvalidInput,
     "/num_experts_per_tok", "4 of 3"},
    {"dense_layer", [](Json& j) { j["mlp_only_layers"] = {2}; }, ErrorCode::kInvalidInput,
     "/mlp_only_layers/0", "layer 2"},
    {"eos",
     [](Json& j) {
       j["eos_token_id"] = {1, 96};
     },
     ErrorCode::kInvalidInput, "/eos_token_id/1", "token 96"},
    {"awq",
     [](Json& j) {
       j["quantization_config"] = {{"quant_method", "awq"}};
     },
     ErrorCode::kUnsupported, "/quantization_config/quant_method", "awq"},
    {"int8",
     [](Json& j) {
       j["quantization_config"] = int4_quantization_json();
       j["quantization_config"]["config_groups"]["group_0"]["weights"]["num_bits"] = 8;
     },
     ErrorCode::kUnsupported, "/quantization_config/config_groups/group_0/weights/num_bits",
     "8, not 4"},
    {"act_order",
     [](Json& j) {
       j["quantization_config"] = int4_quantization_json();
       j["quantization_config"]["config_groups"]["group_0"]["weights"]["actorder"] = "weight";
     },
     ErrorCode::kUnsupported, "/quantization_config/config_groups/group_0/weights/actorder",
     "weight"},
    {"quantised_activations",
     [](Json& j) {
       j["quantization_config"] = int4_quantization_json();
       j["quantization_config"]["config_groups"]["group_0"]["input_activations"] = {
           {"num_bits", 8}};
     },
     ErrorCode::kUnsupported, "/quantization_config/config_groups/group_0/input_activations",
     "num_bits"},
    {"two_groups",
     [](Json& j) {
       j["quantization_config"] = int4_quantization_json();
       j["quantization_config"]["config_groups"]["group_1"] = Json::object();
     },
     ErrorCode::kUnsupported, "/quantization_config/config_groups", "2 groups"},
    {"quantised_dense",
     [](Json& j) {
       j["architectures"] = {"LlamaForCausalLM"};
       j["quantization_config"] = int4_quantization_json();
     },
     ErrorCode::kUnsupported, "/quantization_config", "without experts"},
    {"groups",
     [](Json& j) {
       j["moe_intermediate_size"] = 48;
       j["quantization_config"] = int4_quantization_json();
     },
     ErrorCode::kInvalidInput, "/moe_intermediate_size", "multiple of 32"},
};

class BadModelConfig : public testing::TestWithParam<BadCase> {};

TEST_P(BadModelConfig, IsRefusedWhereItIsBad) {
  Json config = tiny_config();
  GetParam().spoil(config);
  const ConfigFolder folder(config);
  const auto model = folder.read();
  ASSERT_FALSE(model);
  const Error& error = model.error();
  EXPECT_EQ(error.code, GetParam().code) << error.to_string();
  const std::string file = folder.file("config.json");
  EXPECT_EQ(error.where, GetParam().place.empty() ? file : file + ": " + GetParam().place);
  EXPECT_NE(error.message.find(GetParam().message), std::string::npos) << error.message;
}

INSTANTIATE_TEST_SUITE_P(All, BadModelConfig, testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

TEST(ModelConfig, AnUnknownArchitectureListsTheKnownOnes) {
  Json config = tiny_config();
  config["architectures"] = {"GptOssForCausalLM"};
  const auto model = ConfigFolder(config).read();
  ASSERT_FALSE(model);
  for (const char* name : {"Qwen3MoeForCausalLM", "Qwen3ForCausalLM", "LlamaForCausalLM"})
    EXPECT_NE(model.error().remedy.find(name), std::string::npos);
}

}  // namespace
}  // namespace fib
