#include "runners/cpu/skeleton_bodies.h"

#include <algorithm>

namespace fib {
namespace {

constexpr std::string_view kRmsnorm = R"(  const uint16_t* x = t.hidden_states + index * hidden_size;
  float sum = 0.0f;
  for (int64_t i = 0; i < hidden_size; ++i) sum += bf16_to_float(x[i]) * bf16_to_float(x[i]);
  const float scale = 1.0f / std::sqrt(sum / hidden_size + float(FIB_PARAM_eps));
  for (int64_t i = 0; i < hidden_size; ++i) {
    const float value = bf16_to_float(x[i]) * scale * bf16_to_float(t.weight[i]);
    t.output[index * hidden_size + i] = float_to_bf16(value);
  }
)";

constexpr std::string_view kFusedAddRmsnorm = R"(  float x[hidden_size];
  float sum = 0.0f;
  for (int64_t i = 0; i < hidden_size; ++i) {
    const int64_t at = index * hidden_size + i;
    x[i] = bf16_to_float(t.hidden_states[at]) + bf16_to_float(t.residual[at]);
    sum += x[i] * x[i];
  }
  const float scale = 1.0f / std::sqrt(sum / hidden_size + float(FIB_PARAM_eps));
  for (int64_t i = 0; i < hidden_size; ++i)
    t.output[index * hidden_size + i] = float_to_bf16(x[i] * scale * bf16_to_float(t.weight[i]));
)";

constexpr std::string_view kGemm = R"(  const int64_t row = index / N, column = index % N;
  float sum = 0.0f;
  for (int64_t k = 0; k < K; ++k)
    sum += TO_FLOAT(t.A[row * K + k]) * TO_FLOAT(t.B[column * K + k]);
  t.C[index] = FROM_FLOAT(sum);
)";

// The softmax is taken in two passes over the logits: first their largest, then the weights.
constexpr std::string_view kGqaPagedDecode = R"(  const int64_t request = index / num_qo_heads;
  const int64_t head = index % num_qo_heads;
  const int64_t kv_head = head / (num_qo_heads / num_kv_heads);
  const int32_t* pages = t.kv_indices + t.kv_indptr[request];
  const int64_t page_count = t.kv_indptr[request + 1] - t.kv_indptr[request];
  const int64_t tokens = page_count == 0 ? 0 : TOKENS;
  const uint16_t* query = t.q + index * head_dim;
  const auto row_of = [&](int64_t token) {  // in the caches
    const int64_t slot = pages[token / page_size] * page_size + token % page_size;
    return (slot * num_kv_heads + kv_head) * head_dim;
  };
  const auto logit_of = [&](int64_t token) {
    const uint16_t* key = t.k_cache + row_of(token);
    float dot = 0.0f;
    for (int64_t i = 0; i < head_dim; ++i) dot += bf16_to_float(query[i]) * bf16_to_float(key[i]);
    return dot * float(t.sm_scale);
  };
  float largest = -INFINITY;
  for (int64_t token = 0; token < tokens; ++token) largest = std::fmax(largest, logit_of(token));
  float sum = 0.0f;
  float values[head_dim] = {};
  for (int64_t token = 0; token < tokens; ++token) {
    const float weight = std::exp(logit_of(token) - largest);
    const uint16_t* value = t.v_cache + row_of(token);
    sum += weight;
    for (int64_t i = 0; i < head_dim; ++i) values[i] += weight * bf16_to_float(value[i]);
  }
  // A request without tokens: output 0, lse -inf.
  for (int64_t i = 0; i < head_dim; ++i)
    t.output[index * head_dim + i] = float_to_bf16(tokens == 0 ? 0.0f : values[i] / sum);
  t.lse[index] = tokens == 0 ? -INFINITY : largest * 1.44269504f + std::log2(sum);
)";

constexpr std::string_view kMoeInt4 = R"(  // Row `row` of a packed matrix [rows, width / 8] times x: nibble i of word w is column 8 w + i.
  const auto dot = [](const int32_t* packed, const uint16_t* scale, int64_t row, int64_t width,
                      const float* x) {
    float sum = 0.0f;
    for (int64_t column = 0; column < width; ++column) {
      const uint32_t word = uint32_t(packed[row * (width / 8) + column / 8]);
      const int quantised = int(word >> 4 * (column % 8) & 15) - 8;
      sum += quantised * bf16_to_float(scale[row * (width / 32) + column / 32]) * x[column];
    }
    return sum;
  };
  float x[hidden_size], sums[hidden_size] = {}, middle[intermediate_size];
  for (int64_t i = 0; i < hidden_size; ++i)
    x[i] = bf16_to_float(t.hidden_states[index * hidden_size + i]);
  for (int64_t k = 0; k < top_k; ++k) {
    const int64_t expert = t.topk_ids[index * top_k + k];
    for (int64_t i = 0; i < intermediate_size; ++i) {
      const int64_t gate_row = expert * gate_up_size + i;
      const float gate = dot(t.w13_packed, t.w13_scale, gate_row, hidden_size, x);
      const float up = dot(t.w13_packed, t.w13_scale, gate_row + intermediate_size, hidden_size, x);
      middle[i] = bf16_to_float(float_to_bf16(gate / (1.0f + std::exp(-gate)) * up));
    }
    for (int64_t i = 0; i < hidden_size; ++i) {
      sums[i] += t.topk_weights[index * top_k + k] *
                 dot(t.w2_packed, t.w2_scale, expert * hidden_size + i, intermediate_size, middle);
    }
  }
  for (int64_t i = 0; i < hidden_size; ++i)
    t.output[index * hidden_size + i] = float_to_bf16(sums[i]);
)";

constexpr std::string_view kBf16 = R"(
float bf16_to_float(uint16_t bits) {
  const uint32_t word = uint32_t(bits) << 16;
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

uint16_t float_to_bf16(float value) {  // to nearest, ties to even
  uint32_t word;
  std::memcpy(&word, &value, sizeof word);
  if (value != value) return 0x7FC0;
  return uint16_t((word + 0x7FFF + (word >> 16 & 1)) >> 16);
}
)";

constexpr std::string_view kFp16 = R"(
float fp16_to_float(uint16_t bits) {
  const uint32_t sign = uint32_t(bits & 0x8000) << 16;
  uint32_t word = uint32_t(bits & 0x7FFF) << 13;
  float value;
  if (word >= 0x7C00u << 13) {  // infinity, NaN
    word |= 0x7F800000;
    std::memcpy(&value, &word, sizeof value);
  } else {
    std::memcpy(&value, &word, sizeof value);
    value *= 0x1p112f;  // the difference of the exponents' biases; right for subnormals too
  }
  return sign ? -value : value;
}

uint16_t float_to_fp16(float value) {  // to nearest, ties to even
  uint32_t word;
  std::memcpy(&word, &value, sizeof word);
  const uint16_t sign = uint16_t(word >> 16 & 0x8000);
  word &= 0x7FFFFFFF;
  if (word > 0x7F800000) return sign | 0x7E00;   // NaN
  if (word >= 0x477FF000) return sign | 0x7C00;  // rounds to infinity
  if (word < 0x38800000) {                       // subnormal: adding 0.5 rounds at the right bit
    float magnitude;
    std::memcpy(&magnitude, &word, sizeof magnitude);
    magnitude += 0.5f;
    std::memcpy(&word, &magnitude, sizeof word);
    return sign | uint16_t(word - 0x3F000000);
  }
  return sign | uint16_t((word - 0x38000000 + 0xFFF + (word >> 13 & 1)) >> 13);
}
)";

bool uses(const Signature& signature, DType dtype) {
  const auto has = [&](const TensorSpec& tensor) { return tensor.dtype == dtype; };
  return std::any_of(signature.inputs.begin(), signature.inputs.end(), has) ||
         std::any_of(signature.outputs.begin(), signature.outputs.end(), has);
}

std::string replaced(std::string_view text, std::string_view mark, std::string_view by) {
  std::string result(text);
  for (size_t at = 0; (at = result.find(mark, at)) != std::string::npos; at += by.size())
    result.replace(at, mark.size(), by);
  return result;
}

// "bf16" of "bf16_to_float"; empty for a type that needs no conversion.
std::string_view conversion_name(DType dtype) {
  return dtype == DType::kBFloat16 ? "bf16" : dtype == DType::kFloat16 ? "fp16" : "";
}

SkeletonBody gemm_body(const Signature& signature) {
  const auto conversion = [](std::string_view pattern, const TensorSpec* tensor) {
    const std::string_view name = conversion_name(tensor->dtype);
    return name.empty() ? std::string() : replaced(pattern, "NAME", name);
  };
  std::string task =
      replaced(kGemm, "TO_FLOAT", conversion("NAME_to_float", signature.find_input("A")));
  task = replaced(task, "FROM_FLOAT", conversion("float_to_NAME", signature.find_output("C")));
  return {task, "one element of C", "t.M * N"};
}

SkeletonBody gqa_body(const Signature& signature) {
  const bool has_last_page = signature.find_input("kv_last_page_len") != nullptr;
  const std::string task =
      replaced(kGqaPagedDecode, "TOKENS",
               has_last_page ? "(page_count - 1) * page_size + t.kv_last_page_len[request]"
                             : "page_count * page_size");
  return {task, "one query head of one request", "t.batch_size * num_qo_heads"};
}

}  // namespace

std::optional<SkeletonBody> skeleton_body(const Signature& signature) {
  const std::string& reference = signature.fib.reference;
  if (reference == "rmsnorm")
    return SkeletonBody{std::string(kRmsnorm), "one row", "t.batch_size"};
  if (reference == "fused_add_rmsnorm")
    return SkeletonBody{std::string(kFusedAddRmsnorm), "one row", "t.batch_size"};
  if (reference == "gemm") return gemm_body(signature);
  if (reference == "gqa_paged_decode") return gqa_body(signature);
  if (reference == "moe_int4_g32")
    return SkeletonBody{std::string(kMoeInt4), "one token", "t.num_tokens"};
  return std::nullopt;
}

std::string skeleton_conversions(const Signature& signature) {
  std::string text;
  if (uses(signature, DType::kBFloat16)) text += kBf16;
  if (uses(signature, DType::kFloat16)) text += kFp16;
  return text;
}

}  // namespace fib
