#pragma once

// Sizes known to kernel.cu and plan.cpp alike. An enumeration, because NVRTC makes a variable of
// every constexpr at namespace scope.
enum : int {
  kVocabulary = FIB_AXIS_vocab_size,
  kHidden = FIB_AXIS_hidden_size,
  // The widest access, in values of 2 bytes, that divides a row.
  kWidth = kHidden % 8 == 0   ? 8
           : kHidden % 4 == 0 ? 4
           : kHidden % 2 == 0 ? 2
                              : 1,
  kVectors = kHidden / kWidth,  // accesses a row
  kThreads = 256,
};
