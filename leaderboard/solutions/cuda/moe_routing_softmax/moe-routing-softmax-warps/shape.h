#pragma once

// Sizes known to kernel.cu and plan.cpp alike. An enumeration, because NVRTC makes a variable of
// every constexpr at namespace scope.
enum : int {
  kExperts = FIB_AXIS_num_experts,
  kTopK = FIB_AXIS_top_k,
  kPerLane = (kExperts + 31) / 32,  // logits a lane holds
  kTokensPerBlock = 4,              // a warp each
};
static_assert(kExperts <= 1024 && kTopK <= 32, "logits lie in registers, choices one a lane");
