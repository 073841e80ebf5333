#include "runners/cuda/skeleton_bodies.h"

namespace fib {
namespace {

constexpr std::string_view kBf16 = R"(
__device__ float to_float(unsigned short bf16) {
  return __uint_as_float(static_cast<unsigned>(bf16) << 16);
}
__device__ unsigned short to_bf16(float value) {  // to nearest, ties to even
  unsigned short bf16;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bf16) : "f"(value));
  return bf16;
}
)";

constexpr std::string_view kFp16 = R"(
__device__ float to_float(unsigned short fp16) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(fp16));
  return value;
}
__device__ unsigned short to_fp16(float value) {
  unsigned short fp16;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(fp16) : "f"(value));
  return fp16;
}
)";

constexpr std::string_view kBlockSum = R"(
// The sum over the block, known to all of its threads.
__device__ float block_sum(float value) {
  __shared__ float partial[8];
  for (int lane = 16; lane > 0; lane /= 2) value += __shfl_xor_sync(0xFFFFFFFF, value, lane);
  __syncthreads();
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0.0f;
  for (int warp = 0; warp < 8; ++warp) sum += partial[warp];
  return sum;
}
)";

constexpr std::string_view kInt4 = R"(
// Row `row` of packed int4 weights times `x`; both have `length` values. A nibble q stands for
// (q - 8) * scale of its group of 32.
template <class Value>
__device__ float int4_dot(const int* packed, const unsigned short* scale, long long row, int length,
                          const Value& x) {
  float sum = 0.0f;
  for (int i = 0; i < length; ++i) {
    const unsigned word = static_cast<unsigned>(packed[row * (length / 8) + i / 8]);
    const int nibble = static_cast<int>(word >> (i % 8 * 4) & 0xF) - 8;
    sum += static_cast<float>(nibble) * to_float(scale[row * (length / 32) + i / 32]) * x(i);
  }
  return sum;
}
)";

constexpr std::string_view kRmsnorm = R"(    constexpr int kHidden = FIB_AXIS_hidden_size;
    const long long row = item * kHidden;
    float squares = 0.0f;
    for (int i = threadIdx.x; i < kHidden; i += blockDim.x) {
      const float x = to_float(hidden_states[row + i])RESIDUAL;
      squares += x * x;
    }
    const float scale = rsqrtf(block_sum(squares) / kHidden + static_cast<float>(FIB_PARAM_eps));
    for (int i = threadIdx.x; i < kHidden; i += blockDim.x) {
      const float x = to_float(hidden_states[row + i])RESIDUAL;
      output[row + i] = to_bf16(x * scale * to_float(weight[i]));
    }
)";

constexpr std::string_view kGemm = R"(    // A row of C a block; each thread takes columns of it.
    for (int column = threadIdx.x; column < FIB_AXIS_N; column += blockDim.x) {
      const unsigned short* a = A + item * FIB_AXIS_K;
      const unsigned short* b = B + static_cast<long long>(column) * FIB_AXIS_K;
      float sum = 0.0f;
      for (int k = 0; k < FIB_AXIS_K; ++k) sum += to_float(a[k]) * to_float(b[k]);
      C[item * FIB_AXIS_N + column] = STORED;
    }
)";

// Two passes over the tokens: first the largest logit, then the weights. Logits in double: the lse
// is float32, and judged as such.
constexpr std::string_view kGqa = R"(    constexpr int kHeads = FIB_AXIS_num_qo_heads, kDim = FIB_AXIS_head_dim;
    const double minus_infinity = __int_as_float(0xFF800000);
    const long long request = item / kHeads;
    const int kv_head = static_cast<int>(item % kHeads) / (kHeads / FIB_AXIS_num_kv_heads);
    const int* pages = kv_indices + kv_indptr[request];
    const int page_count = kv_indptr[request + 1] - kv_indptr[request];
    const int tokens = page_count == 0 ? 0 : TOKENS;
    const unsigned short* query = q + item * kDim;
    const auto row_of = [&](int token) {  // in the caches
      const long long slot =
          static_cast<long long>(pages[token / FIB_AXIS_page_size]) * FIB_AXIS_page_size +
          token % FIB_AXIS_page_size;
      return (slot * FIB_AXIS_num_kv_heads + kv_head) * kDim;
    };
    const auto logit_of = [&](int token) {
      const unsigned short* key = k_cache + row_of(token);
      double dot = 0.0;
      for (int i = 0; i < kDim; ++i) dot += to_float(query[i]) * to_float(key[i]);
      return dot * sm_scale;
    };
    __shared__ double largest_of[256];
    largest_of[threadIdx.x] = minus_infinity;
    for (int token = threadIdx.x; token < tokens; token += blockDim.x) {
      largest_of[threadIdx.x] = fmax(largest_of[threadIdx.x], logit_of(token));
    }
    __syncthreads();
    double largest = minus_infinity;
    for (int thread = 0; thread < 256; ++thread) largest = fmax(largest, largest_of[thread]);
    float values[kDim] = {};  // this thread's share of the tokens
    float weights = 0.0f;
    for (int token = threadIdx.x; token < tokens; token += blockDim.x) {
      const float weight = expf(static_cast<float>(logit_of(token) - largest));
      const unsigned short* value = v_cache + row_of(token);
      for (int i = 0; i < kDim; ++i) values[i] += weight * to_float(value[i]);
      weights += weight;
    }
    const float sum = block_sum(weights);
    for (int i = 0; i < kDim; ++i) {
      const float value = block_sum(values[i]);
      if (threadIdx.x == 0) output[item * kDim + i] = to_bf16(tokens == 0 ? 0.0f : value / sum);
    }
    if (threadIdx.x == 0) {  // base 2
      const double natural = largest + log(static_cast<double>(sum));
      lse[item] = static_cast<float>(tokens == 0 ? minus_infinity : natural / log(2.0));
    }
    __syncthreads();
)";

constexpr std::string_view kMoe = R"(    constexpr int kHidden = FIB_AXIS_hidden_size, kMiddle = FIB_AXIS_intermediate_size;
    constexpr int kColumns = (kHidden + 255) / 256;  // of the output, a thread
    __shared__ unsigned short middle[kMiddle];
    float sums[kColumns] = {};
    for (int k = 0; k < FIB_AXIS_top_k; ++k) {
      const long long expert = topk_ids[item * FIB_AXIS_top_k + k];
      const auto x = [&](int i) { return to_float(hidden_states[item * kHidden + i]); };
      __syncthreads();
      for (int i = threadIdx.x; i < kMiddle; i += blockDim.x) {
        const long long row = expert * 2 * kMiddle + i;
        const float gate = int4_dot(w13_packed, w13_scale, row, kHidden, x);
        const float up = int4_dot(w13_packed, w13_scale, row + kMiddle, kHidden, x);
        middle[i] = to_bf16(gate / (1.0f + expf(-gate)) * up);
      }
      __syncthreads();
      const float share = topk_weights[item * FIB_AXIS_top_k + k];
      const auto y = [&](int i) { return to_float(middle[i]); };
      for (int c = 0; c < kColumns; ++c) {
        const int column = c * 256 + threadIdx.x;
        if (column >= kHidden) continue;
        sums[c] += share * int4_dot(w2_packed, w2_scale, expert * kHidden + column, kMiddle, y);
      }
    }
    for (int c = 0; c < kColumns; ++c) {
      const int column = c * 256 + threadIdx.x;
      if (column < kHidden) output[item * kHidden + column] = to_bf16(sums[c]);
    }
)";

std::string replaced(std::string_view text, std::string_view mark, std::string_view by) {
  std::string result(text);
  for (size_t at = 0; (at = result.find(mark, at)) != std::string::npos; at += by.size()) {
    result.replace(at, mark.size(), by);
  }
  return result;
}

std::string joined(std::string_view first, std::string_view second) {
  return std::string(first) + std::string(second);
}

}  // namespace

std::optional<CudaSkeletonBody> cuda_skeleton_body(const Signature& signature) {
  const std::string& reference = signature.fib.reference;
  if (reference == "rmsnorm") {
    return CudaSkeletonBody{joined(kBf16, kBlockSum), replaced(kRmsnorm, "RESIDUAL", ""), "one row",
                            "batch_size"};
  }
  if (reference == "fused_add_rmsnorm") {
    return CudaSkeletonBody{joined(kBf16, kBlockSum),
                            replaced(kRmsnorm, "RESIDUAL", " + to_float(residual[row + i])"),
                            "one row", "batch_size"};
  }
  if (reference == "gemm") {
    const DType stored = signature.find_output("C")->dtype;
    const bool is_fp16 = signature.find_input("A")->dtype == DType::kFloat16;
    return CudaSkeletonBody{std::string(is_fp16 ? kFp16 : kBf16),
                            replaced(kGemm, "STORED",
                                     stored == DType::kFloat32   ? "sum"
                                     : stored == DType::kFloat16 ? "to_fp16(sum)"
                                                                 : "to_bf16(sum)"),
                            "one row of C", "M"};
  }
  if (reference == "gqa_paged_decode") {
    const bool has_last_page = signature.find_input("kv_last_page_len") != nullptr;
    return CudaSkeletonBody{
        joined(kBf16, kBlockSum),
        replaced(kGqa, "TOKENS",
                 has_last_page ? "(page_count - 1) * FIB_AXIS_page_size + kv_last_page_len[request]"
                               : "page_count * FIB_AXIS_page_size"),
        "one query head of one request", "batch_size * FIB_AXIS_num_qo_heads"};
  }
  if (reference == "moe_int4_g32") {
    return CudaSkeletonBody{joined(kBf16, kInt4), std::string(kMoe), "one token", "num_tokens"};
  }
  return std::nullopt;
}

}  // namespace fib
