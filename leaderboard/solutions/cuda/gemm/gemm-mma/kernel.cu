// C = A * B^T in fp16 with float32 sums. A ring of asynchronous copies feeds the tensor cores;
// where a product has too few tiles to fill the device, the blocks of a cluster share K and add
// their sums, in a fixed order, through each other's shared memory: no workspace, no second launch.

#include <fib/device/async_copy.h>
#include <fib/device/cluster.h>
#include <fib/device/mma.h>

#include "shape.h"

using fib::Fp16;
using fib::u32;

namespace {

// An enumeration, because NVRTC makes a variable of every constexpr at namespace scope.
enum : int { kN = FIB_AXIS_N, kK = FIB_AXIS_K };
static_assert(kK % 8 == 0, "rows of A and B are copied in pieces of 16 bytes");

// Byte offset of a 16-byte piece of a row in a stage: neighbouring rows in different banks.
template <int kDepth>
__device__ __forceinline__ u32 piece_offset(int row, int piece) {
  return row * (kDepth * 2) + ((piece ^ (row & 7)) * 16);
}

// Copies `kRows` rows of `kDepth` values from column `k`; zeros beyond `rows` and `k_end`.
template <int kRows, int kDepth, int kThreads>
__device__ __forceinline__ void start_rows(u32 to, const Fp16* from, int first_row, int rows, int k,
                                           int k_end) {
  constexpr int kPieces = kDepth / 8;
#pragma unroll
  for (int i = 0; i < kRows * kPieces / kThreads; ++i) {
    const int row = (i * kThreads + static_cast<int>(threadIdx.x)) / kPieces;
    const int piece = (i * kThreads + static_cast<int>(threadIdx.x)) % kPieces;
    const bool is_inside = first_row + row < rows && k + piece * 8 < k_end;
    const size_t at = static_cast<size_t>(first_row + row) * kK + k + piece * 8;
    fib::copy_16(to + piece_offset<kDepth>(row, piece), from + (is_inside ? at : 0), is_inside);
  }
}

}  // namespace

// a [m, kK], b [kN, kK], c [m, kN], all fp16, row-major. Grid: tiles of C, rows in groups of
// `group_rows` tiles running fastest, by the blocks that share K (one cluster); `k_share` of K a
// block, a multiple of the step.
template <Tile kTile>
__global__ void __launch_bounds__(tiling_of(kTile).threads(), tiling_of(kTile).blocks)
    gemm(const Fp16* __restrict__ a, const Fp16* __restrict__ b, Fp16* __restrict__ c, int m,
         int group_rows, int k_share) {
  constexpr Tiling kTiling = tiling_of(kTile);
  constexpr int kRows = kTiling.rows, kColumns = kTiling.columns, kDepth = kTiling.depth;
  constexpr int kThreads = kTiling.threads(), kStages = kTiling.stages;
  constexpr int kWarpRows = kRows / kTiling.row_warps;
  constexpr int kWarpColumns = kColumns / kTiling.column_warps;
  constexpr int kRowTiles = kWarpRows / 16, kColumnPairs = kWarpColumns / 16;
  constexpr int kStageBytes = kTiling.stage_bytes();
  extern __shared__ __align__(128) unsigned char shared[];
  const u32 ring = fib::shared_address(shared);
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;

  // Neighbouring blocks share rows of A or of B, so that the L2 cache serves most of them.
  constexpr int kColumnTiles = (kN + kColumns - 1) / kColumns;
  const int row_tiles = (m + kRows - 1) / kRows;
  const int group = blockIdx.x / (group_rows * kColumnTiles);
  const int rows_here = min(group_rows, row_tiles - group * group_rows);
  const int in_group = blockIdx.x - group * group_rows * kColumnTiles;
  const int first_row = (group * group_rows + in_group % rows_here) * kRows;
  const int first_column = in_group / rows_here * kColumns;
  const int k_begin = static_cast<int>(blockIdx.z) * k_share;
  const int k_end = min(kK, k_begin + k_share);
  const int steps = k_end > k_begin ? (k_end - k_begin + kDepth - 1) / kDepth : 0;

  auto start = [&](int step) {
    if (step < steps) {
      const u32 stage = ring + step % kStages * kStageBytes;
      const int k = k_begin + step * kDepth;
      start_rows<kRows, kDepth, kThreads>(stage, a, first_row, m, k, k_end);
      start_rows<kColumns, kDepth, kThreads>(stage + kRows * kDepth * 2, b, first_column, kN, k,
                                             k_end);
    }
    fib::commit_copies();
  };
#pragma unroll
  for (int i = 0; i < kStages - 1; ++i) start(i);

  float sums[kRowTiles][kColumnPairs * 2][4] = {};
  const int warp_row = warp / kTiling.column_warps * kWarpRows;
  const int warp_column = warp % kTiling.column_warps * kWarpColumns;
  for (int step = 0; step < steps; ++step) {
    fib::wait_for_copies<kStages - 2>();
    __syncthreads();
    start(step + kStages - 1);
    const u32 a_stage = ring + step % kStages * kStageBytes;
    const u32 b_stage = a_stage + kRows * kDepth * 2;
#pragma unroll
    for (int k = 0; k < kDepth / 16; ++k) {
      u32 x[kRowTiles][4];
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
        const int row = warp_row + i * 16 + lane % 16;
        fib::ldmatrix(x[i], a_stage + piece_offset<kDepth>(row, k * 2 + lane / 16));
      }
#pragma unroll
      for (int j = 0; j < kColumnPairs; ++j) {
        u32 y[4];
        const int column = warp_column + j * 16 + lane / 16 * 8 + lane % 8;
        fib::ldmatrix(y, b_stage + piece_offset<kDepth>(column, k * 2 + lane / 8 % 2));
#pragma unroll
        for (int i = 0; i < kRowTiles; ++i) {
          fib::mma_fp16(sums[i][j * 2], x[i], y[0], y[1]);
          fib::mma_fp16(sums[i][j * 2 + 1], x[i], y[2], y[3]);
        }
      }
    }
  }

  // The sums go through shared memory: to the other blocks of the cluster, and into whole lines.
  fib::wait_for_copies<0>();
  __syncthreads();
  constexpr int kStride = kTiling.sum_stride();
  float* const tile = reinterpret_cast<float*>(shared);
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kColumnPairs * 2; ++j) {
      float* const at =
          tile + (warp_row + i * 16 + lane / 4) * kStride + warp_column + j * 8 + lane % 4 * 2;
      *reinterpret_cast<float2*>(at) = {sums[i][j][0], sums[i][j][1]};
      *reinterpret_cast<float2*>(at + 8 * kStride) = {sums[i][j][2], sums[i][j][3]};
    }
  }
  fib::cluster_barrier();
  const int shares = fib::cluster_size(), rank = fib::cluster_rank();
  for (int i = rank * kThreads + thread; i < kRows * kColumns / 4; i += shares * kThreads) {
    const int row = i / (kColumns / 4), column = i % (kColumns / 4) * 4;
    const u32 at = ring + (row * kStride + column) * 4;
    float4 sum = {};
    for (int share = 0; share < shares; ++share) {
      const float4 part = fib::load_from_block(fib::address_in_block(at, share));
      sum.x += part.x;
      sum.y += part.y;
      sum.z += part.z;
      sum.w += part.w;
    }
    if (first_row + row >= m || first_column + column >= kN) continue;
    Fp16* const to = c + static_cast<size_t>(first_row + row) * kN + first_column + column;
    if constexpr (kN % 4 == 0) {
      uint2 packed;
      packed.x = fib::pack_fp16(sum.x, sum.y);
      packed.y = fib::pack_fp16(sum.z, sum.w);
      *reinterpret_cast<uint2*>(to) = packed;
    } else {
      const float values[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (first_column + column + j < kN) from_float(values[j], to[j]);
      }
    }
  }
  fib::cluster_barrier();  // the others may still be reading this block's sums
}
