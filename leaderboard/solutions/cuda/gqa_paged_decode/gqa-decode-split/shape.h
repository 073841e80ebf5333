#pragma once

// Sizes known to kernel.cu and plan.cpp alike.

constexpr int kHeads = FIB_AXIS_num_qo_heads;
constexpr int kKvHeads = FIB_AXIS_num_kv_heads;
constexpr int kHeadDim = FIB_AXIS_head_dim;
constexpr int kPageSize = FIB_AXIS_page_size;
static_assert(kHeads % kKvHeads == 0 && kHeadDim % 16 == 0 && kHeadDim <= 256,
              "whole groups of query heads; head_dim a multiple of 16 up to 256");

constexpr int kGroup = kHeads / kKvHeads;  // query heads that share a KV head
// A block serves up to 8 * kHeadTiles of them: what the registers hold.
constexpr int kHeadTiles = kGroup > 8 && kHeadDim <= 128 ? 2 : 1;
constexpr int kBlocksPerKvHead = (kGroup + 8 * kHeadTiles - 1) / (8 * kHeadTiles);
constexpr int kHeadBlocks = kKvHeads * kBlocksPerKvHead;

constexpr int kWarps = 4;
constexpr int kTileTokens = 16;
constexpr int kStages = kHeadDim <= 128 ? 3 : 2;
constexpr int kRowBytes = kHeadDim * 2 + 16;  // padded: ldmatrix without bank conflicts
constexpr int kTileBytes = kTileTokens * kRowBytes;
constexpr int kSharedBytes = kWarps * kStages * 2 * kTileBytes;

// The work, by value: a plan may read kv_indptr on the host, so no kernel has to search in it.
constexpr int kMaxChunks = 448;
struct Chunks {
  // Position of the first token: index into kv_indices, times the page size, plus the slot.
  unsigned begin[kMaxChunks];
  unsigned request[kMaxChunks];  // request << 15 | is the whole request << 14 | tokens
};
constexpr int kMaxTokens = 1 << 13;  // of a chunk

constexpr int kMaxMerges = 320;
struct Merges {
  unsigned request[kMaxMerges];
  unsigned first_slot[kMaxMerges];
  unsigned slots[kMaxMerges];
};
