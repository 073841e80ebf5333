#include "integrations/serving/model/checkpoint.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/integrations/serving/model/tiny_checkpoint.h"

namespace fib {
namespace {

constexpr const char* kNorm = "model.norm.weight";
constexpr const char* kQuery = "model.layers.0.self_attn.q_proj.weight";

void expect_error(const Result<void>& result, ErrorCode code,
                  std::initializer_list<std::string_view> parts) {
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, code) << result.error().to_string();
  for (const std::string_view part : parts)
    EXPECT_NE(result.error().to_string().find(part), std::string::npos)
        << result.error().to_string();
}

// A checkpoint in two shards: all in the first, but for the final norm.
std::map<std::string, std::vector<std::string>> two_shards(const TinyCheckpoint& checkpoint) {
  std::vector<std::string> names = checkpoint.names();
  std::erase(names, kNorm);
  return {{"a.safetensors", names}, {"b.safetensors", {kNorm}}};
}

TEST(WeightSpecs, OfTheBundledModelAreInIt) {
  const auto config = read_model_config(kBundledModel);
  ASSERT_TRUE(config) << config.error().to_string();
  const auto checkpoint = Checkpoint::open(kBundledModel);
  ASSERT_TRUE(checkpoint) << checkpoint.error().to_string();
  EXPECT_EQ(checkpoint->names().size(), 2378u);
  const std::vector<WeightSpec> specs = weight_specs(*config);
  const auto checked = check_weights(*checkpoint, specs);
  EXPECT_TRUE(checked) << checked.error().to_string();

  // Parts add up to the stacked whole.
  for (const WeightSpec& spec : specs) {
    int64_t elements = 0;
    for (const auto& part : spec.parts)
      elements +=
          std::accumulate(part.shape.begin(), part.shape.end(), int64_t{1}, std::multiplies<>());
    EXPECT_EQ(elements, std::accumulate(spec.shape.begin(), spec.shape.end(), int64_t{1},
                                        std::multiplies<>()))
        << spec.name;
  }
}

TEST(WeightSpecs, AreInTheOrderOfTheirUse) {
  const TinyCheckpoint tiny(tiny_int4_config());
  std::vector<std::string> names;
  for (const WeightSpec& spec : weight_specs(*read_model_config(tiny.path())))
    names.push_back(spec.name);
  EXPECT_EQ(
      std::vector(names.begin(), names.begin() + 12),
      (std::vector<std::string>{"embedding", "layers.0.input_norm", "layers.0.qkv",
                                "layers.0.q_norm", "layers.0.k_norm", "layers.0.o",
                                "layers.0.post_norm", "layers.0.router", "layers.0.w13_packed",
                                "layers.0.w13_scale", "layers.0.w2_packed", "layers.0.w2_scale"}));
  EXPECT_EQ(std::vector(names.end() - 2, names.end()),
            (std::vector<std::string>{"final_norm", "lm_head"}));
}

TEST(WeightSpecs, StackExpertsGateBeforeUp) {
  const TinyCheckpoint tiny;
  const auto specs = weight_specs(*read_model_config(tiny.path()));
  const auto w13 = std::ranges::find(specs, "layers.1.w13", &WeightSpec::name);
  ASSERT_NE(w13, specs.end());
  EXPECT_EQ(w13->shape, (std::vector<int64_t>{3, 64, 64}));
  ASSERT_EQ(w13->parts.size(), 6u);
  EXPECT_EQ(w13->parts[2].tensor, "model.layers.1.mlp.experts.1.gate_proj.weight");
  EXPECT_EQ(w13->parts[3].tensor, "model.layers.1.mlp.experts.1.up_proj.weight");
}

TEST(WeightSpecs, OfDenseModelsHaveGateAndUpTogether) {
  Json config = tiny_config();
  config["architectures"] = {"LlamaForCausalLM"};
  config["tie_word_embeddings"] = true;
  const TinyCheckpoint tiny(config);
  tiny.write();
  EXPECT_TRUE(tiny.check());
  const auto specs = weight_specs(*read_model_config(tiny.path()));
  const auto gate_up = std::ranges::find(specs, "layers.0.gate_up", &WeightSpec::name);
  ASSERT_NE(gate_up, specs.end());
  EXPECT_EQ(gate_up->shape, (std::vector<int64_t>{256, 64}));
  EXPECT_EQ(std::ranges::find(specs, "layers.0.q_norm", &WeightSpec::name), specs.end());
  EXPECT_EQ(std::ranges::find(specs, "lm_head", &WeightSpec::name), specs.end());
}

TEST(Checkpoint, OneFileOrShardsAreTheSame) {
  for (const Json& config : {tiny_config(), tiny_int4_config()}) {
    const TinyCheckpoint whole(config), cut(config);
    whole.write();
    cut.write_shards(two_shards(cut));
    for (const TinyCheckpoint* tiny : {&whole, &cut}) {
      const auto checked = tiny->check();
      EXPECT_TRUE(checked) << checked.error().to_string();
      const auto opened = tiny->open();
      ASSERT_TRUE(opened);
      const auto norm = opened->tensor(kNorm, DType::kBFloat16, {64});
      ASSERT_TRUE(norm);
      EXPECT_EQ(std::memcmp(norm->data.data(), tiny->tensors.at(kNorm).data.data(), 128), 0);
    }
  }
}

TEST(Checkpoint, AskingForATensorChecksIt) {
  const TinyCheckpoint tiny;
  tiny.write();
  const auto opened = tiny.open();
  ASSERT_TRUE(opened);
  const auto missing = opened->tensor("model.norm.wieght", DType::kBFloat16, {64});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_NE(missing.error().remedy.find(kNorm), std::string::npos);
  for (const auto& wrong : {opened->tensor(kNorm, DType::kFloat32, {64}),
                            opened->tensor(kNorm, DType::kBFloat16, {32, 2})}) {
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().code, ErrorCode::kInvalidInput);
    EXPECT_NE(wrong.error().message.find("bfloat16 [64]"), std::string::npos);
  }
}

TEST(BadCheckpoint, AnEmptyFolderIsNamed) {
  const TinyCheckpoint tiny;
  expect_error(tiny.check(), ErrorCode::kNotFound, {"neither", tiny.path().string()});
}

TEST(BadCheckpoint, MissingMisshapenAndUnknownTensorsAreToldTogether) {
  TinyCheckpoint tiny;
  tiny.tensors.erase(kNorm);
  tiny.add(kQuery, DType::kBFloat16, {64, 32});
  tiny.add("model.layers.0.input_layernorm.weight", DType::kFloat32, {64});
  tiny.add("model.layers.2.input_layernorm.weight", DType::kBFloat16, {64});
  tiny.write();
  expect_error(tiny.check(), ErrorCode::kInvalidInput,
               {"1 missing: model.norm.weight", "2 of a wrong type or shape",
                "q_proj.weight (is bfloat16 [64, 32], wanted is bfloat16 [64, 64])",
                "is float32 [64]", "1 that the model doesn't know: model.layers.2"});
}

TEST(BadCheckpoint, LongListsAreCut) {
  TinyCheckpoint tiny;
  std::erase_if(tiny.tensors,
                [](const auto& entry) { return entry.first.find("experts") != std::string::npos; });
  tiny.write();
  expect_error(tiny.check(), ErrorCode::kInvalidInput, {"18 missing", "and 10 more"});
}

TEST(BadCheckpoint, RotaryBuffersAndARepeatedEmbeddingPass) {
  Json config = tiny_config();
  config["tie_word_embeddings"] = true;
  TinyCheckpoint tiny(config);
  tiny.add("model.layers.0.self_attn.rotary_emb.inv_freq", DType::kFloat32, {8});
  tiny.tensors["lm_head.weight"] = tiny.tensors.at("model.embed_tokens.weight");
  tiny.write();
  EXPECT_TRUE(tiny.check());
  tiny.tensors["lm_head.weight"].data[0] ^= std::byte{1};
  tiny.write();
  expect_error(tiny.check(), ErrorCode::kInvalidInput, {"doesn't know: lm_head.weight"});
}

TEST(BadCheckpoint, PackedShapesMustAgree) {
  const std::string shape = "model.layers.0.mlp.experts.0.gate_proj.weight_shape";
  TinyCheckpoint tiny(tiny_int4_config());
  tiny.set(shape, {32, 128});
  tiny.write();
  expect_error(tiny.check(), ErrorCode::kInvalidInput,
               {shape, "says [32, 128], wanted is [32, 64]"});
  tiny.add(shape, DType::kInt32, {2});
  tiny.set(shape, {32, 64});
  tiny.write();
  EXPECT_TRUE(tiny.check());
  tiny.add(shape, DType::kBFloat16, {2});
  tiny.write();
  expect_error(tiny.check(), ErrorCode::kInvalidInput, {shape, "is bfloat16 [2]"});
  tiny.tensors.erase(shape);
  tiny.write();
  expect_error(tiny.check(), ErrorCode::kInvalidInput, {"1 missing: " + shape});
}

TEST(BadCheckpoint, PackedWeightsOfAModelThatIsNotAreUnknown) {
  const TinyCheckpoint packed(tiny_int4_config());
  packed.write();
  packed.write_json("config.json", tiny_config());
  expect_error(packed.check(), ErrorCode::kInvalidInput,
               {"18 missing", "54 that the model doesn't"});
}

TEST(BadCheckpoint, ATruncatedShardIsNamed) {
  const TinyCheckpoint tiny;
  tiny.write_shards(two_shards(tiny));
  const auto shard = tiny.path() / "a.safetensors";
  std::filesystem::resize_file(shard, std::filesystem::file_size(shard) - 100);
  expect_error(tiny.check(), ErrorCode::kInvalidInput, {"a.safetensors", "truncated"});
}

TEST(BadCheckpoint, AGitLfsPointerIsNamed) {
  const TinyCheckpoint tiny;
  ASSERT_TRUE(write_file_atomically(tiny.path() / "model.safetensors",
                                    "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"));
  expect_error(tiny.check(), ErrorCode::kInvalidInput, {"Git LFS pointer", "git lfs pull"});
}

TEST(BadCheckpoint, AMissingShardIsNamed) {
  const TinyCheckpoint tiny;
  tiny.write_shards(two_shards(tiny));
  std::filesystem::remove(tiny.path() / "b.safetensors");
  expect_error(tiny.check(), ErrorCode::kNotFound, {"b.safetensors", "index"});
}

TEST(BadCheckpoint, ATensorInTwoShardsIsNamed) {
  const TinyCheckpoint tiny;
  auto shards = two_shards(tiny);
  tiny.write_shards(shards);
  tiny.write_shard("b.safetensors", {kNorm, kQuery});
  expect_error(tiny.check(), ErrorCode::kInvalidInput,
               {kQuery, "in a.safetensors too", "b.safetensors"});
}

TEST(BadCheckpoint, ATensorInAnotherShardThanTheIndexSaysIsNamed) {
  const TinyCheckpoint tiny;
  auto shards = two_shards(tiny);
  tiny.write_shards(shards);
  std::erase(shards["a.safetensors"], kQuery);
  tiny.write_shard("a.safetensors", shards["a.safetensors"]);
  tiny.write_shard("b.safetensors", {kNorm, kQuery});
  expect_error(tiny.check(), ErrorCode::kInvalidInput,
               {kQuery, "the index has it in a.safetensors"});
  tiny.write_shard("b.safetensors", {kNorm});
  expect_error(tiny.check(), ErrorCode::kInvalidInput, {kQuery, "which the index has here"});
}

TEST(BadCheckpoint, ATensorOutsideTheIndexIsNamed) {
  const TinyCheckpoint tiny;
  auto shards = two_shards(tiny);
  std::erase(shards["a.safetensors"], kQuery);
  tiny.write_shards(shards);
  tiny.write_shard("b.safetensors", {kNorm, kQuery});
  expect_error(tiny.check(), ErrorCode::kInvalidInput, {kQuery, "not in the index"});
}

TEST(BadCheckpoint, AnIndexThatLeadsElsewhereIsRefused) {
  const TinyCheckpoint tiny;
  for (const char* path : {"../a.safetensors", "/a.safetensors"}) {
    tiny.write_index({{kNorm, path}});
    expect_error(tiny.check(), ErrorCode::kInvalidInput, {"/weight_map/", "leads out"});
  }
  tiny.write_index(Json::object());
  expect_error(tiny.check(), ErrorCode::kInvalidInput, {"names no tensor"});
  tiny.write_json("model.safetensors.index.json", Json::object());
  expect_error(tiny.check(), ErrorCode::kInvalidInput, {"'weight_map'"});
}

}  // namespace
}  // namespace fib
