#pragma once

// Sizes known to kernel.cu and plan.cpp alike. An enumeration, because NVRTC makes a variable of
// every constexpr at namespace scope.
enum : int {
  kVocabulary = FIB_AXIS_vocab_size,
  // The widest access, in values of 4 bytes, that divides a row.
  kWidth = kVocabulary % 4 == 0 ? 4 : kVocabulary % 2 == 0 ? 2 : 1,
  kVectors = kVocabulary / kWidth,  // accesses a row
  kThreads = 1024,
  kIdBits = 18,
  kBinBits = 10,
  kBins = 1 << kBinBits,
  kOrderBits = 32 + kIdBits,  // of a token's place in the order of likelihood
};
static_assert(kVocabulary <= 1 << kIdBits, "more tokens than ids have bits for");
static_assert(kBins == kThreads, "a thread looks after a bin");
static_assert(kOrderBits % kBinBits == 0, "the last digit is a whole one");
