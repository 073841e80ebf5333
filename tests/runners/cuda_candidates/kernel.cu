// RMSNorm candidates for the runner's tests: one honest computation, and by -D what is wrong with
// it or how it is launched.

typedef unsigned short bf16;

static __device__ float to_float(bf16 x) {
  return __uint_as_float(static_cast<unsigned>(x) << 16);
}
static __device__ bf16 to_bf16(float x) {
  const unsigned bits = __float_as_uint(x);
  return static_cast<bf16>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

#ifdef WRONG_REMEMBERS
__device__ unsigned rows_seen = 0;
#endif

enum : int { kHidden = FIB_AXIS_hidden_size };  // a constexpr would be a variable of the module

static __device__ float sum_over_block(float value) {
  __shared__ float partial[32];
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xFFFFFFFF, value, offset);
  }
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  float total = 0.0f;
  for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) total += partial[warp];
  return total;
}

// x, out [rows, kHidden] bf16; weight [kHidden] bf16. A block takes row blockIdx.x.
__global__ void rms(const bf16* x, const bf16* weight, bf16* out, int rows) {
#ifdef FEATURE_PROGRAMMATIC
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
#ifdef FEATURE_SHARED
  extern __shared__ float staged[];
  staged[threadIdx.x + (SHARED_BYTES / 4 - 1024)] = 0.0f;
#endif
  const int row = blockIdx.x;
  if (row >= rows) return;
  const bf16* in = x + static_cast<size_t>(row) * kHidden;
  bf16* to = out + static_cast<size_t>(row) * kHidden;
  float squares = 0.0f;
  for (int i = threadIdx.x; i < kHidden; i += blockDim.x) squares += to_float(in[i]) * to_float(in[i]);
  float scale = rsqrtf(sum_over_block(squares) / kHidden + static_cast<float>(FIB_PARAM_eps));
#ifdef WRONG_SCALE
  scale *= 1.05f;
#endif
#ifdef WRONG_REMEMBERS
  // Right only in the first call of a module's life: until every row has been counted.
  if (*static_cast<volatile unsigned*>(&rows_seen) >= static_cast<unsigned>(rows)) scale = 0.0f;
  __syncthreads();
  if (threadIdx.x == 0) atomicAdd(&rows_seen, 1);
#endif
#ifdef WRONG_LAST_ROW
  if (row == rows - 1) return;
#endif
  for (int i = threadIdx.x; i < kHidden; i += blockDim.x) {
    to[i] = to_bf16(to_float(in[i]) * scale * to_float(weight[i]));
  }
#ifdef WRITES_BEYOND
  if (row == rows - 1 && threadIdx.x == 0) to[kHidden] = 0x1234;
#endif
#ifdef WRITES_INPUT
  if (row == 0 && threadIdx.x == 0) const_cast<bf16*>(in)[0] ^= 1;
#endif
#ifdef VARIES
  // A bit of the address, which moves, into the last bit of one element: right, not always the same.
  if (row == 0 && threadIdx.x == 0) to[0] ^= static_cast<bf16>(reinterpret_cast<size_t>(to) >> 8 & 1);
#endif
}

__global__ void breaks(int* nowhere) {
#ifdef BREAKS_ADDRESS
  nowhere[1 << 20] = 1;
#endif
#ifdef BREAKS_TRAP
  if (threadIdx.x == 0) asm volatile("trap;");
#endif
#ifdef BREAKS_ASSERT
  assert(threadIdx.x != 7 && "seven is out of luck");
#endif
#ifdef BREAKS_HANG
  while (*static_cast<volatile int*>(nowhere + threadIdx.x) != 12345) __nanosleep(1000);
#endif
}

// The same through the bulk tensor copy engine: one box of 1 x 256 elements at a time.
struct alignas(64) TensorMap { char opaque[128]; };
__global__ void rms_tma(const __grid_constant__ TensorMap map, const bf16* weight, bf16* out,
                        int rows) {
  constexpr int kBox = 256;
  __shared__ alignas(128) bf16 tile[kHidden];
  __shared__ alignas(8) unsigned long long barrier;
  const int row = blockIdx.x;
  const unsigned at_barrier = static_cast<unsigned>(__cvta_generic_to_shared(&barrier));
  if (threadIdx.x == 0) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(at_barrier));
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(at_barrier),
                 "r"(kHidden * 2));
    for (int column = 0; column < kHidden; column += kBox) {
      asm volatile(
          "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
          " [%0], [%1, {%2, %3}], [%4];" ::"r"(
              static_cast<unsigned>(__cvta_generic_to_shared(tile + column))),
          "l"(&map), "r"(column), "r"(row), "r"(at_barrier)
          : "memory");
    }
  }
  __syncthreads();
  unsigned done = 0;
  while (!done) {
    asm volatile(
        "{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], 0; selp.u32 %0, 1, 0, p; }"
        : "=r"(done)
        : "r"(at_barrier)
        : "memory");
  }
  float squares = 0.0f;
  for (int i = threadIdx.x; i < kHidden; i += blockDim.x) squares += to_float(tile[i]) * to_float(tile[i]);
  const float scale = rsqrtf(sum_over_block(squares) / kHidden + static_cast<float>(FIB_PARAM_eps));
  for (int i = threadIdx.x; i < kHidden; i += blockDim.x) {
    out[static_cast<size_t>(row) * kHidden + i] = to_bf16(to_float(tile[i]) * scale * to_float(weight[i]));
  }
}

// A weight of its own, laid out once: what a prepare step is for.
__global__ void copy_weight(const bf16* weight, bf16* prepared) {
  for (int i = threadIdx.x; i < kHidden; i += blockDim.x) prepared[i] = weight[i];
}
