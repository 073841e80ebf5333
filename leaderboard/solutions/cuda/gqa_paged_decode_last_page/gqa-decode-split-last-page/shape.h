#pragma once

// Sizes known to kernel.cu and plan.cpp alike. Enumerations, because NVRTC makes a variable of
// every constexpr at namespace scope.

enum : int {
  kHeads = FIB_AXIS_num_qo_heads,
  kKvHeads = FIB_AXIS_num_kv_heads,
  kHeadDim = FIB_AXIS_head_dim,
  kPageSize = FIB_AXIS_page_size,

  kGroup = kHeads / kKvHeads,  // query heads that share a KV head
  // A block serves up to 8 * kHeadTiles of them: what the registers hold.
  kHeadTiles = kGroup > 8 && kHeadDim <= 128 ? 2 : 1,
  kBlocksPerKvHead = (kGroup + 8 * kHeadTiles - 1) / (8 * kHeadTiles),
  kHeadBlocks = kKvHeads * kBlocksPerKvHead,

  kWarps = 4,
  kTileTokens = 16,
  kStages = kHeadDim <= 128 ? 3 : 2,
  kRowBytes = kHeadDim * 2 + 16,  // padded: ldmatrix without bank conflicts
  kTileBytes = kTileTokens * kRowBytes,
  kSharedBytes = kWarps * kStages * 2 * kTileBytes,

  kMaxChunks = 448,      // in a launch
  kMaxMerges = 320,      // in a launch
  kMinLiveTokens = 128,  // of a chunk cut on the device
};
static_assert(kHeads % kKvHeads == 0 && kHeadDim % 16 == 0 && kHeadDim <= 256,
              "whole groups of query heads; head_dim a multiple of 16 up to 256");

// The work, by value: a plan may read kv_indptr on the host, so no kernel has to search in it.
struct Chunks {
  // Position of the first token: index into kv_indices, times the page size, plus the slot.
  unsigned begin[kMaxChunks];
  unsigned request[kMaxChunks];  // request << 15 | is the whole request << 14 | tokens
};

struct Merges {
  unsigned request[kMaxMerges];
  unsigned first_slot[kMaxMerges];
  unsigned slots[kMaxMerges];
};
