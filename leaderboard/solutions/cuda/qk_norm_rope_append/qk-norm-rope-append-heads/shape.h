#pragma once

// Sizes known to kernel.cu and plan.cpp alike. An enumeration, because NVRTC makes a variable of
// every constexpr at namespace scope.
enum : int {
  kQoHeads = FIB_AXIS_num_qo_heads,
  kKvHeads = FIB_AXIS_num_kv_heads,
  kHeads = kQoHeads + 2 * kKvHeads,  // of a token in qkv
  kDim = FIB_AXIS_head_dim,
  kHalf = kDim / 2,
  // The widest access, in values of 2 bytes, that divides half a head.
  kWidth = kHalf % 8 == 0 ? 8 : kHalf % 4 == 0 ? 4 : kHalf % 2 == 0 ? 2 : 1,
  kVectors = kHalf / kWidth,  // lanes that have a part of a head
  // Lanes of a head: a power of two, for the shuffles.
  kLanes = kVectors > 16  ? 32
           : kVectors > 8 ? 16
           : kVectors > 4 ? 8
           : kVectors > 2 ? 4
                          : kVectors,
  kThreads = 128,
  kHeadsPerBlock = kThreads / kLanes,
};
static_assert(kVectors <= 32, "a head does not fit a warp");
