#pragma once

// A mixture-of-experts checkpoint of two layers, small enough to be written for each test, to be
// bent to what the test is about.

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "integrations/serving/model/checkpoint.h"
#include "integrations/serving/model/model_config.h"
#include "integrations/serving/model/quantization_config.h"
#include "signatures/base/file.h"
#include "tests/scratch_folder.h"

namespace fib {

inline const std::filesystem::path kBundledModel =
    FIB_SOURCE_DIR "/integrations/serving/models/fib-tiny-moe";

inline Json tiny_config() {
  return {{"architectures", {"Qwen3MoeForCausalLM"}},
          {"model_type", "qwen3_moe"},
          {"torch_dtype", "bfloat16"},
          {"vocab_size", 96},
          {"hidden_size", 64},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", 16},
          {"hidden_act", "silu"},
          {"intermediate_size", 128},
          {"moe_intermediate_size", 32},
          {"num_experts", 3},
          {"num_experts_per_tok", 2},
          {"norm_topk_prob", true},
          {"rms_norm_eps", 1e-6},
          {"rope_theta", 1e6},
          {"max_position_embeddings", 256},
          {"tie_word_embeddings", false},
          {"eos_token_id", {1, 2}},
          {"bos_token_id", 0}};
}

class TinyCheckpoint {
 public:
  struct Tensor {
    DType dtype = DType::kBFloat16;
    std::vector<int64_t> shape;
    std::vector<std::byte> data;
  };
  std::map<std::string, Tensor> tensors;

  // The tensors that `config` asks for, each element a number of its own.
  explicit TinyCheckpoint(const Json& config = tiny_config()) {
    write_json("config.json", config);
    const auto model = read_model_config(path());
    EXPECT_TRUE(model) << model.error().to_string();
    for (const WeightSpec& spec : weight_specs(*model))
      for (const auto& part : spec.parts) {
        add(part.tensor, spec.dtype, part.shape);
        if (!part.tensor.ends_with("_packed")) continue;
        const std::string stem = part.tensor.substr(0, part.tensor.size() - std::strlen("packed"));
        add(stem + "shape", DType::kInt64, {2});
        set(stem + "shape", {part.shape[0], part.shape[1] * kInt4PerWord});
      }
  }

  void add(const std::string& name, DType dtype, std::vector<int64_t> shape) {
    int64_t count = 1;
    for (const int64_t extent : shape) count *= extent;
    Tensor tensor{dtype, std::move(shape), std::vector<std::byte>(storage_bytes(dtype, count))};
    for (int64_t i = 0; i < count; ++i)
      store_element(dtype, tensor.data.data(), i,
                    static_cast<double>((i * 37 + 11) % 101 - 50) / 64);
    tensors[name] = std::move(tensor);
  }
  void set(const std::string& name, const std::vector<int64_t>& values) {
    Tensor& tensor = tensors.at(name);
    for (size_t i = 0; i < values.size(); ++i)
      store_element(tensor.dtype, tensor.data.data(), static_cast<int64_t>(i),
                    static_cast<double>(values[i]));
  }

  // All tensors in one file; or those that `shards` names in files of their own, and an index.
  void write() const { write_shard("model.safetensors", names()); }
  void write_shards(const std::map<std::string, std::vector<std::string>>& shards) const {
    Json map = Json::object();
    for (const auto& [file, members] : shards) {
      write_shard(file, members);
      for (const std::string& name : members) map[name] = file;
    }
    write_index(map);
  }
  void write_index(const Json& map) const {
    write_json("model.safetensors.index.json", {{"weight_map", map}});
  }
  void write_shard(const std::string& file, const std::vector<std::string>& members) const {
    std::vector<StoredTensor> stored;
    for (const std::string& name : members) {
      const Tensor& tensor = tensors.at(name);
      stored.push_back({name, tensor.dtype, tensor.shape, tensor.data});
    }
    EXPECT_TRUE(write_safetensors(path() / file, stored));
  }
  void write_json(const std::string& name, const Json& json) const {
    EXPECT_TRUE(write_file_atomically(path() / name, dump_json(json)));
  }

  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, tensor] : tensors) all.push_back(name);
    return all;
  }
  const std::filesystem::path& path() const { return scratch_.path(); }
  Result<Checkpoint> open() const { return Checkpoint::open(path()); }
  // Opens and checks as a server does.
  Result<void> check() const {
    const ModelConfig config = FIB_TRY(read_model_config(path()));
    const Checkpoint checkpoint = FIB_TRY(open());
    return check_weights(checkpoint, weight_specs(config));
  }

 private:
  ScratchFolder scratch_;
};

inline Json tiny_int4_config() {
  Json config = tiny_config();
  config["quantization_config"] = int4_quantization_json();
  return config;
}

}  // namespace fib
