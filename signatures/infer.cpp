// What fib assumes of a foreign definition. Names carry the meaning in the public datasets: the
// same op type always calls its offsets `kv_indptr`, its experts `num_experts` and so on.

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>

#include "signatures/signature.h"

namespace fib {
namespace {

bool has_inputs(const Signature& signature, std::initializer_list<std::string_view> names) {
  return std::all_of(names.begin(), names.end(), [&](std::string_view name) {
    return signature.find_input(name) != nullptr;
  });
}

bool has_axis(const Signature& signature, std::string_view name) {
  return signature.find_axis(name) != nullptr;
}

std::string infer_reference(const Signature& signature) {
  const std::string& op = signature.op_type;
  if (op == "rmsnorm" && has_inputs(signature, {"hidden_states", "weight"})) {
    return signature.find_input("residual") != nullptr ? "fused_add_rmsnorm" : "rmsnorm";
  }
  if (op == "gemm" && has_inputs(signature, {"A", "B"})) return "gemm";
  const bool is_prefill = signature.find_input("qo_indptr") != nullptr;
  // The early dataset's op types were `decode` and `prefill`.
  if ((op == "gqa_paged" || op == "decode") &&
      has_inputs(signature, {"q", "k_cache", "v_cache", "kv_indptr", "kv_indices"})) {
    return is_prefill ? "gqa_paged_prefill" : "gqa_paged_decode";
  }
  if ((op == "gqa_ragged" || op == "prefill") && is_prefill &&
      has_inputs(signature, {"q", "k", "v", "kv_indptr"})) {
    return "gqa_ragged_prefill";
  }
  if (op == "mla_ragged" && is_prefill && has_inputs(signature, {"q", "k", "v", "kv_indptr"})) {
    return "mla_ragged_prefill";
  }
  if (op == "mla_paged" && has_inputs(signature, {"q_nope", "q_pe", "ckv_cache", "kv_indices"})) {
    return is_prefill ? "mla_paged_prefill" : "mla_paged_decode";
  }
  if (op == "moe" && has_inputs(signature, {"routing_logits", "routing_bias", "hidden_states_scale",
                                            "gemm1_weights_scale", "local_expert_offset"})) {
    return "moe_fp8_block_scale";
  }
  return {};
}

// The number right after `marker` and any of " =" in `text`.
std::optional<double> number_after(std::string_view text, std::string_view marker) {
  for (size_t at = text.find(marker); at != std::string_view::npos;
       at = text.find(marker, at + 1)) {
    size_t begin = at + marker.size();
    while (begin < text.size() && (text[begin] == ' ' || text[begin] == '=')) ++begin;
    double value = 0.0;
    const auto parsed = std::from_chars(text.data() + begin, text.data() + text.size(), value);
    if (parsed.ec == std::errc()) return value;
  }
  return std::nullopt;
}

std::map<std::string, double> infer_parameters(const Signature& signature,
                                               const std::string& reference) {
  std::map<std::string, double> parameters;
  if (signature.op_type == "rmsnorm") {
    auto eps = number_after(signature.reference, "EPS");
    if (!eps) eps = number_after(signature.reference, "eps");
    if (!eps) eps = number_after(signature.description.value_or(""), "Epsilon is fixed at");
    parameters["eps"] = eps.value_or(1e-6);
  }
  if (reference == "moe_fp8_block_scale") {
    // Only the name says how tokens are routed: ..._topk8_ng8_kg4_...
    constexpr std::pair<std::string_view, std::string_view> kParts[] = {
        {"top_k", "_topk"}, {"num_groups", "_ng"}, {"top_groups", "_kg"}};
    for (const auto& [parameter, marker] : kParts) {
      if (const auto value = number_after(signature.name, marker)) {
        parameters[std::string(parameter)] = *value;
      }
    }
  }
  return parameters;
}

struct InputRule {
  std::string_view op_type;
  std::string_view input;
};
constexpr InputRule kWeights[] = {
    {"rmsnorm", "weight"},          {"gemm", "B"},
    {"moe", "routing_bias"},        {"moe", "gemm1_weights"},
    {"moe", "gemm1_weights_scale"}, {"moe", "gemm2_weights"},
    {"moe", "gemm2_weights_scale"}, {"moe", "output1_scales_scalar"},
    {"moe", "output1_scales_gate_scalar"}, {"moe", "output2_scales_scalar"},
    {"gdn", "A_log"},               {"gdn", "dt_bias"},
    {"mamba_ssu", "A"},             {"mamba_ssu", "D"},
    {"mamba_ssu", "dt_bias"},       {"rope", "cos_sin_cache"},
};
constexpr std::string_view kHostVisible[] = {"qo_indptr",     "kv_indptr",  "kv_last_page_len",
                                             "last_page_len", "kv_len_arr", "cu_seqlens",
                                             "seq_lens"};

struct SynthesisRule {
  std::string_view input;
  Synthesis::Kind kind;
  std::string_view limit;  // the rule applies if all its names are axes of the signature
};
constexpr SynthesisRule kSynthesisRules[] = {
    {"kv_indices", Synthesis::Kind::kPageTable, "num_pages"},
    {"kv_indices", Synthesis::Kind::kPageTable, "num_cache_tokens"},
    {"block_table", Synthesis::Kind::kPageTable, "num_pages"},
    {"kv_last_page_len", Synthesis::Kind::kLastPageLen, "page_size"},
    {"last_page_len", Synthesis::Kind::kLastPageLen, "page_size"},
    {"seq_lens", Synthesis::Kind::kLastPageLen, "max_num_pages * page_size"},
    {"topk_ids", Synthesis::Kind::kRouting, "num_experts"},
    {"topk_weights", Synthesis::Kind::kRoutingWeights, ""},
    {"initial_state_indices", Synthesis::Kind::kSlots, "pool_size"},
    {"state_batch_indices", Synthesis::Kind::kSlots, "state_cache_size"},
    {"positions", Synthesis::Kind::kSlots, "max_seq_len"},
};

bool can_limit(const Signature& signature, std::string_view limit) {
  if (limit.empty()) return true;
  const auto expression = Expression::parse(limit);
  return std::all_of(expression->names().begin(), expression->names().end(),
                     [&](const std::string& name) { return has_axis(signature, name); });
}

// Offsets end at the axis that a constraint ties to their last element, or that goes by name.
std::optional<std::string> total_of(const Signature& signature, const std::string& input) {
  for (const Expression& constraint : signature.constraints) {
    const auto last = constraint.as_last_element();
    if (last && last->second == input) return last->first;
  }
  constexpr std::pair<std::string_view, std::string_view> kByName[] = {
      {"qo_indptr", "total_q"},
      {"kv_indptr", "num_kv_indices"},
      {"kv_indptr", "total_kv"},
      {"cu_seqlens", "total_seq_len"},
  };
  for (const auto& [offsets, axis] : kByName) {
    if (offsets == input && has_axis(signature, axis)) return std::string(axis);
  }
  return std::nullopt;
}

std::map<std::string, Synthesis> infer_synthesis(const Signature& signature) {
  std::map<std::string, Synthesis> result;
  for (const TensorSpec& input : signature.inputs) {
    for (const SynthesisRule& rule : kSynthesisRules) {
      if (rule.input == input.name && can_limit(signature, rule.limit)) {
        result[input.name] = Synthesis{rule.kind, std::string(rule.limit), {}};
      }
    }
    if (input.name.ends_with("_indptr") || input.name == "cu_seqlens") {
      if (auto total = total_of(signature, input.name)) {
        result[input.name] = Synthesis{Synthesis::Kind::kIndptr, {}, *std::move(total)};
      }
    }
  }
  return result;
}

// The sizes of what page tables and slots point into.
std::vector<std::string> infer_capacity_axes(const Signature& signature,
                                             const std::map<std::string, Synthesis>& synthesis) {
  std::vector<std::string> axes;
  for (const Axis& axis : signature.axes) {
    const auto is_limit = [&](const auto& input) {
      const Synthesis::Kind kind = input.second.kind;
      return (kind == Synthesis::Kind::kPageTable || kind == Synthesis::Kind::kSlots) &&
             input.second.limit == axis.name;
    };
    if (axis.kind == Axis::Kind::kVar &&
        std::any_of(synthesis.begin(), synthesis.end(), is_limit)) {
      axes.push_back(axis.name);
    }
  }
  return axes;
}

// Uniform within a factor of three, so that in_features of these weights keep unit variance.
// fp8 values drawn from N(0,1) and clamped to +-2 have an RMS of about 0.88.
Distribution weight_scale(double in_features) {
  const double middle = 1.0 / (0.88 * std::sqrt(in_features));
  return {Distribution::Kind::kUniform, 0.5 * middle, 1.5 * middle};
}

std::map<std::string, Distribution> infer_distributions(const Signature& signature,
                                                        const std::string& reference) {
  std::map<std::string, Distribution> result;
  const auto const_axis = [&](std::string_view name) {
    const Axis* axis = signature.find_axis(name);
    return axis == nullptr ? 0.0 : static_cast<double>(axis->value);
  };
  if (signature.find_input("sm_scale") != nullptr) {
    // Before absorption an MLA head has 128 + 64 dimensions.
    double dimensions = reference.starts_with("mla_") ? 192.0 : const_axis("head_dim");
    if (dimensions == 0.0) dimensions = 128.0;
    const double scale = 1.0 / std::sqrt(dimensions);
    result["sm_scale"] = {Distribution::Kind::kUniform, scale, scale};
  }
  if (reference == "moe_fp8_block_scale") {
    result["hidden_states_scale"] = {Distribution::Kind::kUniform, 0.5, 1.5};
    result["gemm1_weights_scale"] = weight_scale(const_axis("hidden_size"));
    result["gemm2_weights_scale"] = weight_scale(const_axis("intermediate_size"));
    result["routed_scaling_factor"] = {Distribution::Kind::kUniform, 2.5, 2.5};
    result["local_expert_offset"] = {Distribution::Kind::kUniformInt, 0.0, 0.0};
  }
  return result;
}

Tolerance default_tolerance(DType dtype) {
  switch (dtype) {
    case DType::kBFloat16:
      return {2.5, 0.1, "bfloat16: half a unit in the last place is 2^-9 of a value that may be 20 "
                        "times its row's RMS, and intermediates may be rounded as well"};
    case DType::kFloat16:
      return {2.5, 0.02, "float16: half a unit in the last place is 2^-11 of a value that may be 20 "
                         "times its row's RMS, and intermediates may be rounded as well"};
    case DType::kFloat32:
      return {32.0, 1e-3, "float32: summing in another order and approximated exp2 and log2 cost a "
                          "few units in the last place; bfloat16 arithmetic would cost thousands"};
    case DType::kFloat8E4M3FN:
    case DType::kFloat8E5M2:
    case DType::kFloat4E2M1:
      return {2.0, 1.0, "a neighbouring value of a format this narrow is right where the exact one "
                        "lies near the middle"};
    default:
      return {1.0, 1e-12, "integers are exact"};
  }
}

// A lower bound of the bytes moved: every tensor once, but of caches and experts only what this
// call's indices reach. What cannot be known from the inputs is left out, never guessed.
std::string tensor_bytes(const Signature& signature, const TensorSpec& tensor) {
  constexpr std::string_view kGathered[] = {"block_table", "cos_sin_cache"};
  if (!tensor.shape ||
      std::find(std::begin(kGathered), std::end(kGathered), tensor.name) != std::end(kGathered)) {
    return {};
  }
  const bool has_pages = signature.find_input("kv_indices") != nullptr;
  std::string product = fmt::format("{}", bits_of(tensor.dtype) / 8.0);
  for (const std::string& axis : *tensor.shape) {
    std::string factor = axis;
    if (axis == "num_pages") {
      if (!has_pages) return {};
      factor = "distinct(kv_indices)";
      for (const char* last : {"kv_last_page_len", "last_page_len"}) {
        // The last page of each request may hold a single token.
        const TensorSpec* lengths = signature.find_input(last);
        const Axis* page = signature.find_axis("page_size");
        if (lengths != nullptr && page != nullptr && page->value > 1) {
          factor = fmt::format("max(0, distinct(kv_indices) - len({}))", last);
        }
      }
    } else if (axis == "num_experts" || axis == "num_local_experts") {
      if (tensor.shape->size() > 2) {
        if (signature.find_input("topk_ids") == nullptr) return {};
        factor = fmt::format("min({}, distinct(topk_ids))", axis);
      }
    } else if (axis == "pool_size" || axis == "state_cache_size") {
      if (!has_axis(signature, "batch_size")) return {};
      factor = fmt::format("min({}, batch_size)", axis);
    }
    product += " * " + factor;
  }
  return product;
}

CostModel infer_cost(const Signature& signature, const std::string& reference) {
  CostModel cost;
  for (const auto* tensors : {&signature.inputs, &signature.outputs}) {
    for (const TensorSpec& tensor : *tensors) {
      const std::string bytes = tensor_bytes(signature, tensor);
      if (bytes.empty()) continue;
      if (!cost.bytes.empty()) cost.bytes += " + ";
      cost.bytes += bytes;
    }
  }
  if (cost.bytes.empty()) cost.bytes = "0";
  const bool is_matmul = reference == "gemm" && has_axis(signature, "M") &&
                         has_axis(signature, "N") && has_axis(signature, "K");
  cost.flops = is_matmul ? "2 * M * N * K" : "0";
  cost.math = "fp32";
  for (const TensorSpec& input : signature.inputs) {
    if (input.dtype == DType::kBFloat16) cost.math = "bf16_tensor";
    if (input.dtype == DType::kFloat16) cost.math = "fp16_tensor";
  }
  return cost;
}

}  // namespace

SignatureExtension infer_extension(const Signature& signature) {
  SignatureExtension extension;
  extension.reference = infer_reference(signature);
  extension.parameters = infer_parameters(signature, extension.reference);
  for (const TensorSpec& input : signature.inputs) {
    const auto is_weight = [&](const InputRule& rule) {
      return rule.op_type == signature.op_type && rule.input == input.name;
    };
    if (std::any_of(std::begin(kWeights), std::end(kWeights), is_weight)) {
      extension.weights.push_back(input.name);
    }
    const bool is_structure = std::find(std::begin(kHostVisible), std::end(kHostVisible),
                                        input.name) != std::end(kHostVisible);
    if (is_structure && is_integer(input.dtype)) extension.host_visible.push_back(input.name);
  }
  extension.synthesis = infer_synthesis(signature);
  extension.capacity_axes = infer_capacity_axes(signature, extension.synthesis);
  extension.distributions = infer_distributions(signature, extension.reference);
  for (const TensorSpec& output : signature.outputs) {
    extension.tolerances[output.name] = default_tolerance(output.dtype);
  }
  extension.cost = infer_cost(signature, extension.reference);
  return extension;
}

}  // namespace fib
