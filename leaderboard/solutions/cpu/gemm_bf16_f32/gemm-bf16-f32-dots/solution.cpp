// gemm_bf16_f32: C = A @ B.T with fp32 accumulation, not rounded.
// A [M, K] bf16, B [N, K] bf16 -> C [M, N] fp32. N and K are known at compile time.

#include <fib/cpu/gemm.h>

using Product = fib::Gemm<FIB_AXIS_N, FIB_AXIS_K, float>;

extern "C" size_t fib_workspace_bytes(const FibCall* call) {
  return Product::workspace_bytes(call->inputs[0].shape[0]);
}

extern "C" int fib_run(const FibCall* call) {
  Product product{static_cast<const uint16_t*>(call->inputs[0].data),
                  static_cast<const uint16_t*>(call->inputs[1].data),
                  static_cast<float*>(call->outputs[0].data), call->inputs[0].shape[0]};
  product.run(call);
  return 0;
}
