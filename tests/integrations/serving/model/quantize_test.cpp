#include "integrations/serving/model/quantize.h"

#include <gtest/gtest.h>

#include <cmath>

#include "integrations/serving/model/checkpoint_writer.h"
#include "tests/integrations/serving/model/tiny_checkpoint.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

std::vector<uint16_t> to_bf16(const std::vector<float>& values) {
  std::vector<uint16_t> bits;
  for (const float value : values) bits.push_back(float_to_bf16(value));
  return bits;
}

// bfloat16 weights (nibble - 8) * scale of a packed matrix.
std::vector<uint16_t> dequantize(std::span<const uint32_t> words,
                                 std::span<const uint16_t> scales) {
  std::vector<uint16_t> weights;
  for (size_t word = 0; word < words.size(); ++word)
    for (const int8_t level : unpack_int4(words[word]))
      weights.push_back(float_to_bf16(level * bf16_to_float(scales[word / 4])));
  return weights;
}

template <class T>
std::vector<T> values_of(const StoredTensor& tensor) {
  std::vector<T> values(tensor.data.size() / sizeof(T));
  std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
  return values;
}

TEST(QuantizeInt4, MaxAbsIsTheRuleOfTheBundledModel) {
  std::vector<float> weights(32, 0.0f);
  weights[0] = 7.5f;   // 7.5 levels: ties to 8, cut to 7
  weights[1] = -7.5f;  // -8
  weights[2] = 0.5f;   // ties to even: 0
  weights[3] = 1.5f;   // 2
  const auto matrix = quantize_int4(to_bf16(weights), 32, ScaleRule::kMaxAbs);
  ASSERT_TRUE(matrix);
  EXPECT_EQ(matrix->scales, std::vector<uint16_t>{float_to_bf16(1.0f)});
  const auto levels = unpack_int4(matrix->words[0]);
  EXPECT_EQ(std::vector<int>(levels.begin(), levels.begin() + 5), (std::vector{7, -8, 0, 2, 0}));
  EXPECT_DOUBLE_EQ(matrix->squared_error, 4 * 0.25);
}

TEST(QuantizeInt4, WhatWasInt4IsFoundAgain) {
  // Levels that reach either end of the range, at awkward scales.
  for (const float scale : {0.00123f, 0.037f, 1.1f}) {
    for (const int end : {-8, 7}) {
      std::vector<float> weights;
      for (int i = 0; i < 32; ++i) weights.push_back(static_cast<float>(i % 15 - 7));
      weights[3] = static_cast<float>(end);
      for (float& weight : weights) weight *= bf16_to_float(float_to_bf16(scale));
      const auto bits = to_bf16(weights);
      const auto matrix = quantize_int4(bits, 32, ScaleRule::kLeastError);
      ASSERT_TRUE(matrix);
      EXPECT_EQ(matrix->scales, std::vector<uint16_t>{float_to_bf16(scale)});
      EXPECT_EQ(dequantize(matrix->words, matrix->scales), bits);
    }
  }
}

TEST(QuantizeInt4, ZerosAndTinyAndHugeWeightsKeepFiniteScales) {
  for (const float size : {0.0f, 1e-30f, 1e37f}) {
    for (const ScaleRule rule : {ScaleRule::kMaxAbs, ScaleRule::kLeastError}) {
      const auto matrix = quantize_int4(to_bf16(std::vector<float>(64, size)), 32, rule);
      ASSERT_TRUE(matrix);
      for (const uint16_t scale : matrix->scales) {
        EXPECT_GT(bf16_to_float(scale), 0);
        EXPECT_TRUE(std::isfinite(bf16_to_float(scale)));
      }
      EXPECT_TRUE(std::isfinite(matrix->squared_error));
    }
  }
}

TEST(QuantizeInt4, WeightsThatAreNotFiniteAreNamed) {
  std::vector<uint16_t> weights(128, 0);
  weights[70] = 0x7fc0;  // NaN
  const auto matrix = quantize_int4(weights, 64, ScaleRule::kLeastError);
  ASSERT_FALSE(matrix);
  EXPECT_NE(matrix.error().message.find("[1, 6]"), std::string::npos);
}

class Quantize : public testing::Test {
 protected:
  ScratchFolder folder_;
  const fs::path target_ = folder_ / "int4";

  QuantizeOptions options(const fs::path& source) const {
    return {.source = source, .target = target_};
  }
  // Nothing is left of a run that failed.
  void expect_refused(const QuantizeOptions& options, ErrorCode code, std::string_view part) {
    const auto report = quantize_checkpoint(options);
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, code) << report.error().to_string();
    EXPECT_NE(report.error().to_string().find(part), std::string::npos)
        << report.error().to_string();
    EXPECT_TRUE(fs::is_empty(folder_.path()));
  }
};

TEST_F(Quantize, TheBundledModelDequantisedComesBack) {
  // Its experts in bfloat16, as a checkpoint in shards.
  ScratchFolder plain;
  Json config = *read_json_file(kBundledModel / "config.json");
  config.erase("quantization_config");
  ASSERT_TRUE(write_file_atomically(plain / "config.json", dump_json(config)));
  fs::copy(kBundledModel / "tokenizer.json", plain / "tokenizer.json");
  const auto original = Checkpoint::open(kBundledModel);
  ASSERT_TRUE(original);
  std::vector<PlannedTensor> planned;
  const auto specs = weight_specs(*read_model_config(plain.path()));
  for (const WeightSpec& spec : specs)
    for (const auto& part : spec.parts) planned.push_back({part.tensor, spec.dtype, part.shape});
  auto writer = CheckpointWriter::create(plain.path(), planned, 20 << 20);
  ASSERT_TRUE(writer) << writer.error().to_string();
  for (const PlannedTensor& tensor : planned) {
    if (const StoredTensor* same = original->find(tensor.name)) {
      ASSERT_TRUE(writer->write(tensor.name, same->data));
      continue;
    }
    const auto weights = dequantize(values_of<uint32_t>(*original->find(tensor.name + "_packed")),
                                    values_of<uint16_t>(*original->find(tensor.name + "_scale")));
    ASSERT_TRUE(writer->write(tensor.name, std::as_bytes(std::span(weights))));
  }
  ASSERT_TRUE(writer->finish());
  EXPECT_TRUE(fs::exists(plain / "model-00003-of-00003.safetensors"));

  QuantizeOptions quantize = options(plain.path());
  quantize.num_threads = 2;
  const auto report = quantize_checkpoint(quantize);
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(report->quantized_tensors, 8 * 32 * 3);
  EXPECT_EQ(report->layers.size(), 8u);
  EXPECT_LT(report->relative_rms_error, 2e-3);  // what bfloat16 lost of the products
  EXPECT_LT(report->worst.relative_rms_error, 2e-3);
  EXPECT_LT(report->target_bytes, report->source_bytes / 2);

  const auto again = Checkpoint::open(target_);
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ(again->names(), original->names());
  int groups = 0, same_scales = 0, words = 0, same_words = 0;
  for (const std::string& name : original->names()) {
    const StoredTensor &before = *original->find(name), &after = *again->find(name);
    ASSERT_EQ(before.shape, after.shape) << name;
    if (name.ends_with("_scale")) {
      const auto a = values_of<uint16_t>(before), b = values_of<uint16_t>(after);
      for (size_t i = 0; i < a.size(); ++i, ++groups) same_scales += a[i] == b[i];
    } else if (name.ends_with("_packed")) {
      const auto a = values_of<uint32_t>(before), b = values_of<uint32_t>(after);
      for (size_t i = 0; i < a.size(); ++i, ++words) same_words += a[i] == b[i];
    } else {
      EXPECT_EQ(std::memcmp(before.data.data(), after.data.data(), before.data.size()), 0) << name;
    }
  }
  EXPECT_GT(same_scales, groups * 0.999);
  EXPECT_GT(same_words, words * 0.999);
  EXPECT_EQ(*read_file(target_ / "tokenizer.json"), *read_file(kBundledModel / "tokenizer.json"));
}

TEST_F(Quantize, TheBetterScaleIsNeverWorse) {
  TinyCheckpoint tiny;
  tiny.write();
  QuantizeOptions searched = options(tiny.path()), fixed = options(tiny.path());
  fixed.target = folder_ / "fixed";
  fixed.scale_rule = ScaleRule::kMaxAbs;
  const auto better = quantize_checkpoint(searched), plain = quantize_checkpoint(fixed);
  ASSERT_TRUE(better) << better.error().to_string();
  ASSERT_TRUE(plain) << plain.error().to_string();
  EXPECT_LT(better->relative_rms_error, plain->relative_rms_error);
  EXPECT_GT(better->relative_rms_error, 0.01);
  EXPECT_GE(better->worst.relative_rms_error, better->relative_rms_error);
  EXPECT_NE(tiny.tensors.find(better->worst.tensor), tiny.tensors.end());

  const Json json = better->to_json();
  EXPECT_EQ(json.at("layers").size(), 2u);
  EXPECT_EQ(json.at("worst").at("tensor"), better->worst.tensor);
  EXPECT_EQ(json.at("quantized_tensors"), 18);
}

TEST_F(Quantize, ShardsAndProgressAreAsAsked) {
  const TinyCheckpoint tiny;
  tiny.write();
  QuantizeOptions small = options(tiny.path().string() + "/");
  small.target = target_.string() + "/";
  small.shard_bytes = 16 << 10;
  std::vector<int> done;
  small.on_progress = [&](int count, int total) {
    done.push_back(count);
    EXPECT_LE(count, total);
  };
  const auto report = quantize_checkpoint(small);
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(static_cast<int>(done.size()), report->quantized_tensors + report->copied_tensors);
  EXPECT_TRUE(std::ranges::is_sorted(done));
  EXPECT_TRUE(fs::exists(target_ / "model.safetensors.index.json"));
  EXPECT_FALSE(fs::exists(target_ / "model.safetensors"));
  const auto config = read_model_config(target_);
  ASSERT_TRUE(config) << config.error().to_string();
  EXPECT_EQ(config->expert_format, ExpertFormat::kInt4Group32);
}

TEST_F(Quantize, WhatCannotBeQuantisedIsRefusedAndLeavesNothing) {
  Json dense = tiny_config();
  dense["architectures"] = {"LlamaForCausalLM"};
  const TinyCheckpoint llama(dense);
  llama.write();
  expect_refused(options(llama.path()), ErrorCode::kUnsupported, "no routed experts");
  expect_refused(options(kBundledModel), ErrorCode::kConflict, "INT4 already");

  Json narrow = tiny_config();
  narrow["moe_intermediate_size"] = 48;
  const TinyCheckpoint odd(narrow);
  odd.write();
  expect_refused(options(odd.path()), ErrorCode::kUnsupported, "48 is not a multiple of 32");

  TinyCheckpoint broken;
  broken.tensors.erase("model.norm.weight");
  broken.write();
  expect_refused(options(broken.path()), ErrorCode::kInvalidInput, "model.norm.weight");

  TinyCheckpoint infinite;
  const std::string tensor = "model.layers.1.mlp.experts.2.down_proj.weight";
  store_element(DType::kBFloat16, infinite.tensors.at(tensor).data.data(), 5, INFINITY);
  infinite.write();
  expect_refused(options(infinite.path()), ErrorCode::kInvalidInput, tensor);
}

TEST_F(Quantize, ATargetThatIsThereIsKept) {
  const TinyCheckpoint tiny;
  tiny.write();
  fs::create_directory(target_);
  ASSERT_TRUE(write_file_atomically(target_ / "precious", "x"));
  const auto report = quantize_checkpoint(options(tiny.path()));
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, ErrorCode::kConflict);
  EXPECT_TRUE(fs::exists(target_ / "precious"));
  fs::remove(target_ / "precious");
  EXPECT_TRUE(quantize_checkpoint(options(tiny.path())));
  EXPECT_TRUE(fs::exists(target_ / "model.safetensors"));
}

}  // namespace
}  // namespace fib
