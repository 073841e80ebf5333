#pragma once

// Sizes known to kernel.cu and plan.cpp alike. An enumeration, because NVRTC makes a variable of
// every constexpr at namespace scope.
enum : int {
  kVocabulary = FIB_AXIS_vocab_size,
  // The widest access, in values of 4 bytes, that divides a row.
  kWidth = kVocabulary % 4 == 0   ? 4
           : kVocabulary % 2 == 0 ? 2
                                  : 1,
  kVectors = kVocabulary / kWidth,  // accesses a row
  kThreads = 1024,
};
