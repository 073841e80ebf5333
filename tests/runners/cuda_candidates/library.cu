// Small kernels around <fib/device/...>, for tests/runners/cuda_device_library_test.cpp. Values are
// small integers where sums must be exact.

#include <fib/device/async_copy.h>
#include <fib/device/cluster.h>
#include <fib/device/convert.h>
#include <fib/device/experts.h>
#include <fib/device/fp8.h>
#include <fib/device/int4.h>
#include <fib/device/launch.h>
#include <fib/device/mma.h>
#include <fib/device/reduce.h>
#include <fib/device/rope.h>
#include <fib/device/shared.h>
#include <fib/device/stream.h>
#include <fib/device/tma.h>
#include <fib/device/vector.h>
#include <fib/device/wgmma.h>

using fib::Bf16;
using fib::Fp16;
using fib::u16;
using fib::u32;
using fib::u64;

// out [3, 256] float32: every e4m3, e5m2 and e8m0. 256 threads.
__global__ void decode_bytes(float* out) {
  const unsigned char code = threadIdx.x;
  out[code] = to_float(fib::E4m3{code});
  out[256 + code] = to_float(fib::E5m2{code});
  out[512 + code] = fib::e8m0_to_float(code);
}

// words [n], out [n, 24] float32: a word's eight int4, eight e2m1, four e4m3 and four e5m2 values.
__global__ void decode_words(const u32* words, float* out) {
  const int i = threadIdx.x;
  float* const to = out + i * 24;
  u32 pairs[4], two[2];
  fib::unpack_int4(words[i], pairs);
  for (int j = 0; j < 8; ++j) to[j] = to_float(Bf16{u16(pairs[j / 2] >> j % 2 * 16)});
  fib::unpack_e2m1(words[i], pairs);
  for (int j = 0; j < 8; ++j) to[8 + j] = to_float(Fp16{u16(pairs[j / 2] >> j % 2 * 16)});
  fib::unpack_e4m3(words[i], two);
  for (int j = 0; j < 4; ++j) to[16 + j] = to_float(Fp16{u16(two[j / 2] >> j % 2 * 16)});
  fib::unpack_e5m2(words[i], two);
  for (int j = 0; j < 4; ++j) to[20 + j] = to_float(Fp16{u16(two[j / 2] >> j % 2 * 16)});
}

// words [n], out [n, 8] float32: a word's eight int4 values, unpacked four apart.
__global__ void decode_halves(const u32* words, float* out) {
  const int i = threadIdx.x;
  u32 pairs[4];
  fib::unpack_int4_halves(words[i], pairs);
  for (int j = 0; j < 8; ++j) out[i * 8 + j] = to_float(Bf16{u16(pairs[j % 4] >> j / 4 * 16)});
}

// in [n] float32, out [n, 6] 16-bit: bf16, fp16, e4m3, e5m2 of the value, then the lower and upper
// halves of its packed bf16 pair with its negative.
__global__ void encode(const float* in, u16* out) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  Bf16 bf16;
  Fp16 fp16;
  fib::E4m3 e4m3;
  fib::E5m2 e5m2;
  from_float(in[i], bf16);
  from_float(in[i], fp16);
  from_float(in[i], e4m3);
  from_float(in[i], e5m2);
  const u32 pair = fib::pack_bf16(in[i], -in[i]);
  const u16 values[6] = {bf16.bits, fp16.bits, e4m3.bits, e5m2.bits, u16(pair), u16(pair >> 16)};
  for (int j = 0; j < 6; ++j) out[i * 6 + j] = values[j];
}

// in [blocks, 256] float32, out [blocks, 256, 5] float32: sums over 8 lanes, the row, the cluster;
// index of the first maximum in the block, in the cluster (counted on through its blocks).
__global__ void reduce(const float* in, float* out) {
  const int i = blockIdx.x * 256 + threadIdx.x;
  const float row = fib::sum_over_row<256>(in[i]);
  const u64 largest = fib::max_over_block<256>(fib::ordered_pair(in[i], i));
  float* const to = out + i * 5;
  to[0] = fib::sum_over_lanes<8>(in[i]);
  to[1] = row;
  to[2] = fib::sum_over_cluster(row);
  to[3] = fib::index_of(largest);
  to[4] = fib::index_of(fib::max_over_cluster(largest));
}

// a [16, 16], b [8, 16] bf16; d [16, 8], twice: A * B^T. The second time B's fragments come from
// its transpose, stored so. One warp.
__global__ void multiply(const Bf16* a, const Bf16* b, float* d) {
  __shared__ __align__(16) Bf16 tile_a[16][16], tile_b[16][16], b_columns[16][16];
  const int lane = threadIdx.x, g = lane / 4, c = lane % 4;
  for (int i = lane; i < 256; i += 32) {
    tile_a[i / 16][i % 16] = a[i];
    tile_b[i / 16][i % 16] = i < 128 ? b[i] : Bf16{};
    b_columns[i % 16][i / 16] = i < 128 ? b[i] : Bf16{};
  }
  __syncwarp();
  u32 x[4], y[2], columns[4];
  fib::ldmatrix(x, fib::shared_address(&tile_a[lane % 16][lane / 16 * 8]));
  fib::ldmatrix(y, fib::shared_address(&tile_b[lane % 8][lane / 8 % 2 * 8]));
  fib::ldmatrix_transposed(columns, fib::shared_address(&b_columns[lane % 16][lane / 16 * 8]));
  float sums[2][4];
  fib::mma_bf16_first(sums[0], x, y[0], y[1]);
  fib::mma_bf16_first(sums[1], x, columns[0], columns[1]);
  for (int times = 0; times < 2; ++times) {
    for (int i = 0; i < 4; ++i)
      d[times * 128 + (g + i / 2 * 8) * 8 + c * 2 + i % 2] = sums[times][i];
  }
}

// matrix [8, 8] 16-bit, result [8, 8] its transpose. One warp.
__global__ void transpose(const u16* matrix, u16* result) {
  const int at = threadIdx.x * 2;
  const u32 turned = fib::transpose_8x8(matrix[at] | u32{matrix[at + 1]} << 16);
  result[at] = u16(turned);
  result[at + 1] = u16(turned >> 16);
}

// Maps over A [64, 64] and B [kColumns, 64], 16-bit, whole; d [64, kColumns] float32. 128 threads.
template <int kColumns, bool kIsBf16>
__global__ void warpgroup_multiply(const __grid_constant__ fib::TensorMap a,
                                   const __grid_constant__ fib::TensorMap b, float* d) {
  extern __shared__ unsigned char shared[];
  __shared__ u64 filled;
  const u32 tile = (fib::shared_address(shared) + 1023) / 1024 * 1024;
  const u32 barrier = fib::shared_address(&filled);
  if (threadIdx.x == 0) {
    fib::barrier_init(barrier, 1);
    fib::publish_barriers();
    fib::barrier_arrive_and_expect(barrier, (64 + kColumns) * 128);
    fib::copy_box(tile, a, 0, 0, barrier);
    fib::copy_box(tile + 64 * 128, b, 0, 0, barrier);
  }
  __syncthreads();
  fib::barrier_wait(barrier, 0);
  float sums[kColumns / 2];
  const u64 x = fib::wgmma_tile(tile), y = fib::wgmma_tile(tile + 64 * 128);
  fib::wgmma_fence();
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    if constexpr (kIsBf16) {
      fib::Wgmma<kColumns>::bf16(sums, x + k * 2, y + k * 2, k > 0);
    } else {
      fib::Wgmma<kColumns>::fp16(sums, x + k * 2, y + k * 2, k > 0);
    }
  }
  fib::wgmma_commit();
  fib::wgmma_wait<0>();
  fib::wgmma_pin(sums);
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
#pragma unroll
  for (int i = 0; i < kColumns / 2; ++i) {
    const int row = warp * 16 + g + i / 2 % 2 * 8, column = i / 4 * 8 + c * 2 + i % 2;
    d[row * kColumns + column] = sums[i];
  }
}

// a [64, 64], b [kColumns, 64] bf16; d [64, kColumns] float32. A from registers, B put in its place
// by the threads. 128 threads.
template <int kColumns>
__global__ void warpgroup_multiply_registers(const u32* a, const Bf16* b, float* d) {
  extern __shared__ unsigned char shared[];
  __shared__ u64 filled;
  const u32 tile = (fib::shared_address(shared) + 1023) / 1024 * 1024;
  const u32 barrier = fib::shared_address(&filled);
  if (threadIdx.x == 0) {
    fib::barrier_init(barrier, 128);
    fib::publish_barriers();
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kColumns * 8; i += 128) {
    fib::copy_16(tile + fib::swizzled_piece(i / 8, i % 8), b + i * 8);
  }
  fib::barrier_arrive_after_copies(barrier);
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
  u32 x[4][4];
#pragma unroll
  for (int k = 0; k < 4; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      x[k][i] = a[(warp * 16 + g + i % 2 * 8) * 32 + k * 8 + i / 2 * 4 + c];
    }
    fib::wgmma_pin(x[k]);
  }
  fib::barrier_wait(barrier, 0);
  fib::publish_to_wgmma();
  float sums[kColumns / 2];
  const u64 y = fib::wgmma_tile(tile);
  fib::wgmma_fence();
#pragma unroll
  for (int k = 0; k < 4; ++k) fib::Wgmma<kColumns>::bf16(sums, x[k], y + k * 2, k > 0);
  fib::wgmma_commit();
  fib::wgmma_wait<0>();
  fib::wgmma_pin(sums);
#pragma unroll
  for (int i = 0; i < kColumns / 2; ++i) {
    const int row = warp * 16 + g + i / 2 % 2 * 8, column = i / 4 * 8 + c * 2 + i % 2;
    d[row * kColumns + column] = sums[i];
  }
}

// in [256] 32-bit words; out [256]: a quarter each by bulk copy, by pieces of 16 bytes, the same
// with every second piece outside (zeros), by single words. 64 threads.
__global__ void copy(const u32* in, u32* out) {
  __shared__ __align__(128) u32 words[256];
  __shared__ u64 filled;
  const u32 to = fib::shared_address(words), barrier = fib::shared_address(&filled);
  const int i = threadIdx.x;
  if (i == 0) {
    fib::barrier_init(barrier, 1);
    fib::publish_barriers();
    fib::barrier_arrive_and_expect(barrier, 256);
    fib::copy_bulk(to, in, 256, barrier);
  }
  if (i < 32) {
    const int at = 64 + i * 4;
    fib::copy_16(to + at * 4, in + at, i < 16 || i % 2 == 0);
  }
  fib::copy_small<4>(to + (192 + i) * 4, in + 192 + i);
  fib::commit_copies();
  fib::wait_for_copies<0>();
  __syncthreads();
  fib::barrier_wait(barrier, 0);
  fib::warps_barrier<1, 64>();
  fib::store(out + i * 4, fib::load<u32, 4>(words + i * 4));
}

// weights [kRows, depth], tokens [kTokens, depth] bf16, depth a multiple of 16; products
// [kTokens, kRows] float32. One block of fib::kStreamThreads.
template <int kRows, int kTokens>
__global__ void stream(const Bf16* weights, const Bf16* tokens, float* products, int depth) {
  using Shape = fib::StreamShape<kRows, kTokens, 128, 2>;
  extern __shared__ __align__(128) unsigned char shared[];
  fib::Stream<Shape> stages(shared);
  if (threadIdx.x / 32 == fib::kStreamWarps) {
    for (int k = 0; k < depth; k += Shape::kStep) {
      const int bytes = min(int{Shape::kStep}, depth - k) * 2;
      stages.open_stage(kRows + kTokens, bytes);
      for (int row = threadIdx.x % 32; row < kRows + kTokens; row += 32) {
        const Bf16* const from =
            row < kRows ? weights + row * depth : tokens + (row - kRows) * depth;
        stages.copy_row(stages.stage, row, from + k, bytes);
      }
      stages.advance();
    }
    return;
  }
  typename fib::Stream<Shape>::Sums sums = {};
  for (int k = 0; k < depth; k += Shape::kStep) stages.multiply(depth - k, sums);
  for (int t = 0; t < Shape::kTokenTiles; ++t) {
    stages.put_chunk(stages.chunk(), sums, t);
    stages.barrier();
    for (int i = threadIdx.x; i < Shape::kChunkTokens * kRows / 4; i += 32 * fib::kStreamWarps) {
      const int row = i % (kRows / 4) * 4, i_token = i / (kRows / 4);
      float4 sum = {};
      stages.add_quad(stages.quad_at(stages.chunk(), i_token, row), sum);
      const fib::Pack<float, 4> quad = {{sum.x, sum.y, sum.z, sum.w}};
      fib::store(products + stages.chunk_token(t, i_token) * kRows + row, quad);
    }
    stages.barrier();
  }
}

// topk_ids [pairs]; count [1], experts [tiles], tile_pairs [tiles, 8]: of 40 experts.
__global__ void list_tiles(const int* topk_ids, int pairs, int* count, int* experts,
                           int* tile_pairs) {
  fib::list_tiles<40, 64>(topk_ids, pairs, fib::kFewTokens, {count, experts, tile_pairs});
}
__global__ void list_few_tiles(const int* topk_ids, int pairs, int* count, int* experts,
                               int* tile_pairs) {
  __shared__ fib::FewExpertTiles few;
  fib::list_few_tiles<40>(topk_ids, pairs, few);
  if (threadIdx.x == 0) *count = few.count;
  for (int i = threadIdx.x; i < few.count; i += blockDim.x) experts[i] = few.experts[i];
  for (int i = threadIdx.x; i < few.count * fib::kFewTokens; i += blockDim.x) {
    tile_pairs[i] = few.pairs[i];
  }
}

// heads [n, 16] bf16, weight [16] bf16, cos_sin [16] float32; out [n, 2, 16] bf16: each head turned,
// and turned after it was scaled by half its weight. Two lanes a head.
__global__ void turn_heads(const Bf16* heads, const Bf16* weight, const float* cos_sin, Bf16* out) {
  const int head = threadIdx.x / 2, at = threadIdx.x % 2 * 4;
  fib::HeadPart<8, 4> plain, scaled;
  plain.load_from(heads + head * 16, at);
  scaled = plain;
  plain.turn(cos_sin, at);
  scaled.turn(cos_sin, weight, 0.5f, at);
  plain.store_to(out + head * 32, at);
  scaled.store_to(out + head * 32 + 16, at);
}

// Late, after the next kernel may have begun.
__global__ void write_late(int* value) {
  fib::let_next_kernel_start();
  fib::wait_for_previous_kernel();
  __nanosleep(200000);
  *value += 1;
}
