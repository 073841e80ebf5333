#pragma once

// Sizes known to kernel.cu and plan.cpp alike. Enumerations, because NVRTC makes a variable of
// every constexpr at namespace scope.

enum : int {
  kHeads = FIB_AXIS_num_qo_heads,
  kKvHeads = FIB_AXIS_num_kv_heads,
  kHeadDim = FIB_AXIS_head_dim,
#ifdef FIB_AXIS_page_size
  kIsPaged = 1,
#else
  kIsPaged = 0,
#endif

  kGroup = kHeads / kKvHeads,  // query heads that share a KV head
  kTileKeys = kHeadDim <= 128 ? 64 : 32,
  kRowBytes = kHeadDim * 2 + 16,  // padded: ldmatrix without bank conflicts
  kTileBytes = kTileKeys * kRowBytes,
  kStages = 2,
  kSharedBytes = kStages * 2 * kTileBytes,

  kMaxRequests = 160,  // in a launch
};
static_assert(kHeads % kKvHeads == 0 && kGroup <= 64 && kHeadDim % 16 == 0 && kHeadDim <= 256,
              "whole groups of up to 64 query heads; head_dim a multiple of 16 up to 256");

// A block of `warps` warps serves so many query tokens: 16 rows a warp, a row a token and head.
constexpr int tile_tokens(int warps) { return warps * 16 / kGroup; }

// The work, by value: the plan reads the offsets on the host.
struct Requests {
  int first_tile[kMaxRequests];
  int first_query[kMaxRequests];  // row of q
  int queries[kMaxRequests];
  int keys[kMaxRequests];
  // Of the first key: index into kv_indices, or the row of k and v.
  int first_key[kMaxRequests];
};
