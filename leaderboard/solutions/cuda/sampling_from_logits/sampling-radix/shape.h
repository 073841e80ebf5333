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
  kThreads = 512,
  // Blocks a row: its tokens must fit their shared memory, and threads have a few accesses each.
  kBlocks = kVectors >= 16 * kThreads  ? 8
            : kVectors >= 8 * kThreads ? 4
            : kVectors >= 4 * kThreads ? 2
                                       : 1,
  kVectorsABlock = (kVectors + kBlocks - 1) / kBlocks,
  kSharedBytes = kVectorsABlock * kWidth * 4,
  kIdBits = 22,
  kBinBits = 9,
  kBins = 1 << kBinBits,
  kOrderBits = 32 + kIdBits,  // of a token's place in the order of likelihood
  kFew = kThreads,            // tokens that are compared each with each
};
static_assert(kSharedBytes <= 190 * 1024, "a row doesn't fit the shared memory of its blocks");
static_assert(kBins == kThreads, "a thread looks after a bin");
static_assert(kOrderBits % kBinBits == 0, "the last digit is a whole one");
