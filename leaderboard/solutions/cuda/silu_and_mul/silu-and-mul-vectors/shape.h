#pragma once

// Sizes known to kernel.cu and plan.cpp alike. An enumeration, because NVRTC makes a variable of
// every constexpr at namespace scope.
enum : int {
  kIntermediate = FIB_AXIS_intermediate_size,
  // The widest access, in values of 2 bytes, that divides a row.
  kWidth = kIntermediate % 8 == 0   ? 8
           : kIntermediate % 4 == 0 ? 4
           : kIntermediate % 2 == 0 ? 2
                                    : 1,
  kVectors = kIntermediate / kWidth,  // accesses a row of the output
  kThreads = 256,
};
