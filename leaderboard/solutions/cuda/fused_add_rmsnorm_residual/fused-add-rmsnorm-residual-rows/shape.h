#pragma once

// How a row is dealt to threads, known to kernel.cu and plan.cpp alike. Enumerations, because NVRTC
// makes a variable of every constexpr at namespace scope.

enum : int {
  kHidden = FIB_AXIS_hidden_size,
  // The widest access, in values of 2 bytes, that divides a row.
  kWidth = kHidden % 8 == 0   ? 8
           : kHidden % 4 == 0 ? 4
           : kHidden % 2 == 0 ? 2
                              : 1,
  kVectors = kHidden / kWidth,  // accesses a row
};

// A power of two for rows that share a warp, else a multiple of 32 up to 1024.
constexpr int threads_for(int vectors) {
  int threads = 8;
  while (threads < vectors && threads < 32) threads *= 2;
  if (vectors > 32) threads = (vectors + 31) / 32 * 32;
  return threads > 1024 ? 1024 : threads;
}

enum : int {
  // Few rows: as many threads as a row has vectors, for the shortest wait.
  kFewRows = threads_for(kVectors),
  // Many rows: two vectors a thread, so that a multiprocessor keeps more bytes in flight.
  kManyRows = threads_for(kVectors > 32 ? (kVectors + 1) / 2 : int{kVectors}),
};

constexpr int rows_per_block(int threads) { return threads >= 128 ? 1 : 128 / threads; }
