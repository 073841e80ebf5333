#pragma once

// C = A * B^T of 16-bit values with float32 sums, by warp-level tensor cores behind a ring of
// asynchronous copies: for every card with clusters (sm_90 and later). Where a product has too few
// tiles to fill the device, the blocks of a cluster share K and add their sums, in a fixed order,
// through each other's shared memory: no workspace, no second launch.
//
// A kernel is an entry point around it:
//
//   using Gemm = fib::Product<FIB_AXIS_N, FIB_AXIS_K>;  // in a header that plan.cpp reads too
//
//   template <fib::ProductTile kTile>
//   __global__ void __launch_bounds__(Gemm::threads(kTile), Gemm::blocks(kTile))
//       gemm(const fib::Bf16* a, const fib::Bf16* b, float* c, int m, int k_share) {
//     Gemm::compute<kTile>(a, b, c, m, k_share);
//   }
//
// Its launches are fib::plan_product's of <fib/plan/product.h>.

#ifdef __CUDACC__
#include <fib/device/async_copy.h>
#include <fib/device/cluster.h>
#include <fib/device/launch.h>
#include <fib/device/mma.h>
#endif

namespace fib {

// Few rows: B streams through, long steps keep many bytes in flight. Many rows: large tiles, so
// that each value fetched is used often.
enum class ProductTile { k16x64, k32x64, k64x64, k128x128, k128x256 };

struct ProductTiling {
  int rows, columns, depth;     // of C, and of a step along K
  int row_warps, column_warps;  // how the block's warps share the tile
  int stages;
  int blocks;  // a multiprocessor holds at once

  constexpr int threads() const { return 32 * row_warps * column_warps; }
  constexpr int stage_bytes() const { return (rows + columns) * depth * 2; }
  constexpr int sum_stride() const { return columns + 4; }  // floats: spreads the banks
  constexpr int shared_bytes() const {
    const int ring = stages * stage_bytes(), sums = rows * sum_stride() * 4;
    return ring > sums ? ring : sums;
  }
};
constexpr ProductTiling tiling_of(ProductTile tile) {
  switch (tile) {
    case ProductTile::k16x64:
      return {16, 64, 128, 1, 4, 4, 2};
    case ProductTile::k32x64:
      return {32, 64, 128, 1, 4, 4, 2};
    case ProductTile::k64x64:
      return {64, 64, 128, 2, 2, 3, 2};
    case ProductTile::k128x128:
      return {128, 128, 64, 2, 4, 3, 2};
    case ProductTile::k128x256:
      break;
  }
  return {128, 256, 64, 2, 4, 4, 1};
}

// Sizes for kernels and plan.cpp alike.
template <int kN_, int kK_>
struct Product {
  enum : int { kN = kN_, kK = kK_ };
  static_assert(kK % 8 == 0, "rows of A and B are copied in pieces of 16 bytes");
  // Tiles of rows that run before the next tile of columns: neighbouring blocks share rows of A or
  // of B, so that the L2 cache serves most of them.
  enum : int { kGroupRows = 8 };

  static constexpr int threads(ProductTile tile) { return tiling_of(tile).threads(); }
  static constexpr int blocks(ProductTile tile) { return tiling_of(tile).blocks; }

#ifdef __CUDACC__
  // a [m, kK] and b [kN, kK] in Bf16 or Fp16, c [m, kN] in these or float, all row-major. Grid:
  // tiles of C, by the blocks that share K (z, one cluster); `k_share` of K a block, a multiple of
  // the step. b is read before the previous kernel has ended: it must not be what that one writes.
  template <ProductTile kTile, class In, class Out>
  static __device__ void compute(const In* a, const In* b, Out* c, int m, int k_share) {
    constexpr ProductTiling kTiling = tiling_of(kTile);
    constexpr int kRows = kTiling.rows, kColumns = kTiling.columns, kDepth = kTiling.depth;
    constexpr int kStages = kTiling.stages, kThreads = kTiling.threads();
    constexpr int kWarpRows = kRows / kTiling.row_warps;
    constexpr int kWarpColumns = kColumns / kTiling.column_warps;
    constexpr int kRowTiles = kWarpRows / 16, kColumnPairs = kWarpColumns / 16;
    extern __shared__ __align__(128) unsigned char product_shared[];
    const u32 ring = shared_address(product_shared);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;

    constexpr int kColumnTiles = (kN + kColumns - 1) / kColumns;
    const int row_tiles = (m + kRows - 1) / kRows;
    const int group = blockIdx.x / (kGroupRows * kColumnTiles);
    const int rows_here = min(int{kGroupRows}, row_tiles - group * kGroupRows);
    const int in_group = blockIdx.x - group * kGroupRows * kColumnTiles;
    const int first_row = (group * kGroupRows + in_group % rows_here) * kRows;
    const int first_column = in_group / rows_here * kColumns;
    const int k_begin = static_cast<int>(blockIdx.z) * k_share;
    const int k_end = min(int{kK}, k_begin + k_share);
    const int steps = k_end > k_begin ? (k_end - k_begin + kDepth - 1) / kDepth : 0;

    const auto a_stage = [&](int step) { return ring + step % kStages * kTiling.stage_bytes(); };
    const auto b_stage = [&](int step) { return a_stage(step) + kRows * kDepth * 2; };
    const auto start_a = [&](int step) {
      if (step >= steps) return;
      start_rows<kRows, kDepth, kThreads>(a_stage(step), a, first_row, m, k_begin + step * kDepth,
                                          k_end);
    };
    const auto start_b = [&](int step) {
      if (step >= steps) return;
      start_rows<kColumns, kDepth, kThreads>(b_stage(step), b, first_column, kN,
                                             k_begin + step * kDepth, k_end);
    };
    let_next_kernel_start();
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) start_b(i);
    wait_for_previous_kernel();
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) {
      start_a(i);
      commit_copies();
    }

    float sums[kRowTiles][kColumnPairs * 2][4] = {};
    const int warp_row = warp / kTiling.column_warps * kWarpRows;
    const int warp_column = warp % kTiling.column_warps * kWarpColumns;
    for (int step = 0; step < steps; ++step) {
      wait_for_copies<kStages - 2>();
      __syncthreads();
      start_a(step + kStages - 1);
      start_b(step + kStages - 1);
      commit_copies();
#pragma unroll
      for (int k = 0; k < kDepth / 16; ++k) {
        u32 x[kRowTiles][4];
#pragma unroll
        for (int i = 0; i < kRowTiles; ++i) {
          const int row = warp_row + i * 16 + lane % 16;
          ldmatrix(x[i], a_stage(step) + piece_offset<kDepth>(row, k * 2 + lane / 16));
        }
#pragma unroll
        for (int j = 0; j < kColumnPairs; ++j) {
          u32 y[4];
          const int column = warp_column + j * 16 + lane / 16 * 8 + lane % 8;
          ldmatrix(y, b_stage(step) + piece_offset<kDepth>(column, k * 2 + lane / 8 % 2));
#pragma unroll
          for (int i = 0; i < kRowTiles; ++i) {
            multiply(sums[i][j * 2], x[i], y[0], y[1], In{});
            multiply(sums[i][j * 2 + 1], x[i], y[2], y[3], In{});
          }
        }
      }
    }

    // The sums go through shared memory: to the other blocks of the cluster, and into whole lines.
    wait_for_copies<0>();
    __syncthreads();
    constexpr int kStride = kTiling.sum_stride();
    float* const tile = reinterpret_cast<float*>(product_shared);
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
    cluster_barrier();
    const int shares = cluster_size(), rank = cluster_rank();
    for (int i = rank * kThreads + threadIdx.x; i < kRows * kColumns / 4; i += shares * kThreads) {
      const int row = i / (kColumns / 4), column = i % (kColumns / 4) * 4;
      const u32 at = ring + (row * kStride + column) * 4;
      float4 sum = {};
      for (int share = 0; share < shares; ++share) {
        const float4 part = load_from_block(address_in_block(at, share));
        sum.x += part.x;
        sum.y += part.y;
        sum.z += part.z;
        sum.w += part.w;
      }
      if (first_row + row < m) {
        store(sum, c + static_cast<size_t>(first_row + row) * kN, first_column + column);
      }
    }
    cluster_barrier();  // the others may still be reading this block's sums
  }

 private:
  // Byte offset of a 16-byte piece of a row in a stage: neighbouring rows in different banks.
  template <int kDepth>
  static __device__ __forceinline__ u32 piece_offset(int row, int piece) {
    return row * (kDepth * 2) + ((piece ^ (row & 7)) * 16);
  }

  // Copies `kRows` rows of `kDepth` values from column `k`; zeros beyond `rows` and `k_end`.
  template <int kRows, int kDepth, int kThreads, class In>
  static __device__ __forceinline__ void start_rows(u32 to, const In* from, int first_row, int rows,
                                                    int k, int k_end) {
    constexpr int kPieces = kDepth / 8;
#pragma unroll
    for (int i = 0; i < kRows * kPieces / kThreads; ++i) {
      const int row = (i * kThreads + static_cast<int>(threadIdx.x)) / kPieces;
      const int piece = (i * kThreads + static_cast<int>(threadIdx.x)) % kPieces;
      const bool is_inside = first_row + row < rows && k + piece * 8 < k_end;
      const size_t at = static_cast<size_t>(first_row + row) * kK + k + piece * 8;
      copy_16(to + piece_offset<kDepth>(row, piece), from + (is_inside ? at : 0), is_inside);
    }
  }

  static __device__ __forceinline__ void multiply(float (&sums)[4], const u32 (&a)[4], u32 b0,
                                                  u32 b1, Bf16) {
    mma_bf16(sums, a, b0, b1);
  }
  static __device__ __forceinline__ void multiply(float (&sums)[4], const u32 (&a)[4], u32 b0,
                                                  u32 b1, Fp16) {
    mma_fp16(sums, a, b0, b1);
  }

  // Four neighbouring values of a row of C, of which those beyond kN don't exist.
  template <class Out>
  static __device__ __forceinline__ void store(float4 values, Out* row, int column) {
    if constexpr (kN % 4 == 0) {
      if (column < kN) store_four(values, row + column);
    } else {
      const float each[4] = {values.x, values.y, values.z, values.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (column + i < kN) store_one(each[i], row[column + i]);
      }
    }
  }
  static __device__ __forceinline__ void store_four(float4 v, float* to) {
    *reinterpret_cast<float4*>(to) = v;
  }
  static __device__ __forceinline__ void store_four(float4 v, Bf16* to) {
    *reinterpret_cast<uint2*>(to) = {pack_bf16(v.x, v.y), pack_bf16(v.z, v.w)};
  }
  static __device__ __forceinline__ void store_four(float4 v, Fp16* to) {
    *reinterpret_cast<uint2*>(to) = {pack_fp16(v.x, v.y), pack_fp16(v.z, v.w)};
  }
  static __device__ __forceinline__ void store_one(float value, float& to) { to = value; }
  template <class Half>
  static __device__ __forceinline__ void store_one(float value, Half& to) {
    from_float(value, to);
  }
#endif
};

}  // namespace fib
