// Which tensors a model has, and whether a checkpoint has exactly these.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "integrations/serving/model/checkpoint.h"
#include "integrations/serving/model/quantization_config.h"

namespace fib {
namespace {

using Shape = std::vector<int64_t>;

constexpr std::string_view kEmbedding = "model.embed_tokens.weight";
constexpr std::string_view kHead = "lm_head.weight";
constexpr std::string_view kPacked = ".weight_packed";
constexpr std::string_view kScale = ".weight_scale";
constexpr std::string_view kShape = ".weight_shape";

WeightSpec single(std::string name, std::string tensor, Shape shape) {
  return {.name = std::move(name), .shape = shape, .parts = {{std::move(tensor), shape}}};
}

// Matrices of the same width, one under the other.
WeightSpec stacked(std::string name, std::vector<WeightSpec::Part> parts) {
  int64_t rows = 0;
  for (const auto& part : parts) rows += part.shape[0];
  const int64_t columns = parts[0].shape[1];
  return {.name = std::move(name), .shape = {rows, columns}, .parts = std::move(parts)};
}

void add_attention(const ModelConfig& config, const std::string& layer, const std::string& source,
                   std::vector<WeightSpec>& specs) {
  const int64_t hidden = config.hidden_size, head = config.head_dim;
  const int64_t q_rows = config.num_heads * head, kv_rows = config.num_kv_heads * head;
  const std::string at = source + "self_attn.";
  specs.push_back(single(layer + "input_norm", source + "input_layernorm.weight", {hidden}));
  specs.push_back(stacked(layer + "qkv", {{at + "q_proj.weight", {q_rows, hidden}},
                                          {at + "k_proj.weight", {kv_rows, hidden}},
                                          {at + "v_proj.weight", {kv_rows, hidden}}}));
  if (config.has_qk_norm) {
    specs.push_back(single(layer + "q_norm", at + "q_norm.weight", {head}));
    specs.push_back(single(layer + "k_norm", at + "k_norm.weight", {head}));
  }
  specs.push_back(single(layer + "o", at + "o_proj.weight", {hidden, q_rows}));
  specs.push_back(
      single(layer + "post_norm", source + "post_attention_layernorm.weight", {hidden}));
}

void add_dense(const ModelConfig& config, const std::string& layer, const std::string& source,
               std::vector<WeightSpec>& specs) {
  const int64_t hidden = config.hidden_size, inner = config.intermediate_size;
  specs.push_back(stacked(layer + "gate_up", {{source + "mlp.gate_proj.weight", {inner, hidden}},
                                              {source + "mlp.up_proj.weight", {inner, hidden}}}));
  specs.push_back(single(layer + "down", source + "mlp.down_proj.weight", {hidden, inner}));
}

// One kind of tensor of all experts: [experts, rows of `projections` together, columns].
WeightSpec of_experts(const ModelConfig& config, std::string name, const std::string& source,
                      const std::vector<std::string_view>& projections, std::string_view suffix,
                      DType dtype, int64_t rows, int64_t columns) {
  WeightSpec spec{.name = std::move(name), .dtype = dtype};
  spec.shape = {config.num_experts, rows * static_cast<int64_t>(projections.size()), columns};
  for (int expert = 0; expert < config.num_experts; ++expert)
    for (const std::string_view projection : projections)
      spec.parts.push_back(
          {fmt::format("{}mlp.experts.{}.{}_proj{}", source, expert, projection, suffix),
           {rows, columns}});
  return spec;
}

void add_experts(const ModelConfig& config, const std::string& layer, const std::string& source,
                 std::vector<WeightSpec>& specs) {
  const int64_t hidden = config.hidden_size, inner = config.expert_size;
  specs.push_back(
      single(layer + "router", source + "mlp.gate.weight", {config.num_experts, hidden}));
  struct Matrix {
    std::string_view name;
    std::vector<std::string_view> projections;
    int64_t rows, columns;
  };
  for (const Matrix& matrix :
       {Matrix{"w13", {"gate", "up"}, inner, hidden}, Matrix{"w2", {"down"}, hidden, inner}}) {
    const auto add = [&](std::string_view kind, std::string_view suffix, DType dtype,
                         int64_t columns) {
      specs.push_back(of_experts(config, fmt::format("{}{}{}", layer, matrix.name, kind), source,
                                 matrix.projections, suffix, dtype, matrix.rows, columns));
    };
    if (config.expert_format == ExpertFormat::kBFloat16) {
      add("", ".weight", DType::kBFloat16, matrix.columns);
    } else {
      add("_packed", kPacked, DType::kInt32, matrix.columns / kInt4PerWord);
      add("_scale", kScale, DType::kBFloat16, matrix.columns / kInt4GroupSize);
    }
  }
}

std::string describe(DType dtype, const Shape& shape) {
  return fmt::format("{} [{}]", dtype_name(dtype), fmt::join(shape, ", "));
}

// All that is wrong with a checkpoint, by kind.
struct Findings {
  std::vector<std::string> missing, misshapen, unknown;

  Result<void> result(const std::string& where) const {
    std::vector<std::string> texts;
    const auto tell = [&](std::string_view kind, const std::vector<std::string>& found) {
      constexpr size_t kShown = 8;
      if (found.empty()) return;
      const size_t shown = std::min(found.size(), kShown);
      std::string text = fmt::format("{} {}: {}", found.size(), kind,
                                     fmt::join(found.begin(), found.begin() + shown, ", "));
      if (shown < found.size()) text += fmt::format(" and {} more", found.size() - shown);
      texts.push_back(std::move(text));
    };
    tell("missing", missing);
    tell("of a wrong type or shape", misshapen);
    tell("that the model doesn't know", unknown);
    if (texts.empty()) return {};
    return fail(ErrorCode::kInvalidInput,
                fmt::format("the tensors are not those that config.json describes; {}",
                            fmt::join(texts, "; ")),
                where, "config.json and weights must be of the same checkpoint");
  }
};

// `weight_shape` of a packed matrix says what was packed.
void check_packed_shape(const Checkpoint& checkpoint, const WeightSpec::Part& part,
                        std::set<std::string, std::less<>>& known, Findings& findings) {
  const std::string name =
      part.tensor.substr(0, part.tensor.size() - kPacked.size()) + std::string(kShape);
  known.insert(name);
  const StoredTensor* stored = checkpoint.find(name);
  if (stored == nullptr) {
    findings.missing.push_back(name);
    return;
  }
  const bool is_pair = (stored->dtype == DType::kInt64 || stored->dtype == DType::kInt32) &&
                       stored->shape == Shape{2};
  if (!is_pair) {
    findings.misshapen.push_back(fmt::format("{} (is {}, wanted is int64 [2])", name,
                                             describe(stored->dtype, stored->shape)));
    return;
  }
  const Shape wanted = {part.shape[0], part.shape[1] * kInt4PerWord};
  const Shape said = {static_cast<int64_t>(load_element(stored->dtype, stored->data.data(), 0)),
                      static_cast<int64_t>(load_element(stored->dtype, stored->data.data(), 1))};
  if (said != wanted)
    findings.misshapen.push_back(fmt::format("{} (says [{}], wanted is [{}])", name,
                                             fmt::join(said, ", "), fmt::join(wanted, ", ")));
}

// Tied models are often saved with both; they must be the same then.
bool repeats_embedding(const Checkpoint& checkpoint) {
  const StoredTensor* head = checkpoint.find(kHead);
  const StoredTensor* embedding = checkpoint.find(kEmbedding);
  return head != nullptr && embedding != nullptr && head->dtype == embedding->dtype &&
         head->shape == embedding->shape &&
         std::memcmp(head->data.data(), embedding->data.data(), head->data.size()) == 0;
}

}  // namespace

std::vector<WeightSpec> weight_specs(const ModelConfig& config) {
  std::vector<WeightSpec> specs;
  const int64_t hidden = config.hidden_size, vocabulary = config.vocab_size;
  specs.push_back(single("embedding", std::string(kEmbedding), {vocabulary, hidden}));
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const std::string layer = fmt::format("layers.{}.", i);
    const std::string source = "model." + layer;
    add_attention(config, layer, source, specs);
    switch (config.layers[i].ffn) {
      case FfnKind::kDense: add_dense(config, layer, source, specs); break;
      case FfnKind::kExperts: add_experts(config, layer, source, specs); break;
    }
  }
  specs.push_back(single("final_norm", "model.norm.weight", {hidden}));
  if (!config.has_tied_embedding)
    specs.push_back(single("lm_head", std::string(kHead), {vocabulary, hidden}));
  return specs;
}

Result<void> check_weights(const Checkpoint& checkpoint, const std::vector<WeightSpec>& specs) {
  Findings findings;
  std::set<std::string, std::less<>> known;
  for (const WeightSpec& spec : specs)
    for (const WeightSpec::Part& part : spec.parts) {
      known.insert(part.tensor);
      const StoredTensor* stored = checkpoint.find(part.tensor);
      if (stored == nullptr) {
        findings.missing.push_back(part.tensor);
      } else if (stored->dtype != spec.dtype || stored->shape != part.shape) {
        findings.misshapen.push_back(fmt::format("{} (is {}, wanted is {})", part.tensor,
                                                 describe(stored->dtype, stored->shape),
                                                 describe(spec.dtype, part.shape)));
      }
      if (part.tensor.ends_with(kPacked)) check_packed_shape(checkpoint, part, known, findings);
    }
  const bool is_tied = !known.contains(kHead);
  if (is_tied && repeats_embedding(checkpoint)) known.insert(std::string(kHead));
  for (const std::string& name : checkpoint.names())
    if (!known.contains(name) && !name.ends_with(".rotary_emb.inv_freq"))
      findings.unknown.push_back(name);
  return findings.result(checkpoint.folder());
}

}  // namespace fib
