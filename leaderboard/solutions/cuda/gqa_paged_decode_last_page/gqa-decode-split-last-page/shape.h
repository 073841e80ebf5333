#pragma once

// Known to kernel.cu and plan.cpp alike.

#include <fib/device/attention_decode.h>

// What a search may set (solution.json).
#ifndef WARPS  // a block
#define WARPS 4
#endif
#ifndef STAGES  // tiles of a warp in its ring; of heads beyond 128 one less
#define STAGES 3
#endif
#ifndef MIN_CHUNK  // tokens
#define MIN_CHUNK 128
#endif
#ifndef MOST_CHUNK  // tokens
#define MOST_CHUNK 1024
#endif

struct Choices {
  enum : int {
    kWarps = WARPS,
    kStages = FIB_AXIS_head_dim <= 128 ? STAGES : STAGES - 1,
    kMinChunk = MIN_CHUNK,
    kMostChunk = MOST_CHUNK,
  };
};

using Decode =
    fib::DecodeAttention<FIB_AXIS_num_qo_heads, FIB_AXIS_num_kv_heads, FIB_AXIS_head_dim, Choices>;
