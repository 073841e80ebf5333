#pragma once

// Arguments of the harness's own kernels (harness.cu): one definition for the host, which packs
// them, and NVRTC, which compiles what reads them.

#include <fib/philox.h>

namespace fib {

// Element formats beyond ValueFormat's floats, for comparing outputs.
enum ElementFormat {
  kElementFloat32 = kStoreFloat32,
  kElementFloat16 = kStoreFloat16,
  kElementBFloat16 = kStoreBFloat16,
  kElementFloat8E4M3 = kStoreFloat8E4M3,
  kElementFloat8E5M2 = kStoreFloat8E5M2,
  kElementFloat4E2M1 = kStoreFloat4E2M1,
  kElementInt64,
  kElementInt32,
  kElementInt16,
  kElementInt8,
  kElementBool,
};

struct FillArguments {
  ValueRule rule;
  fib_u64 seed, stream;
  fib_u64 out;    // address, 16-byte aligned
  fib_u64 count;  // elements
};

enum { kMaxGuards = 128 };
struct GuardList {
  fib_u64 seed;
  fib_u32 count;
  fib_u32 bytes[kMaxGuards];
  fib_u64 address[kMaxGuards];
};

// What one call leaves behind for the host to read.
struct CallReport {
  fib_u64 output_digest[2];        // right after the call
  fib_u64 settled_digest[2];       // after a device synchronisation
  fib_u64 input_digest[2];
  fib_u64 prepared_digest[2];
  fib_u64 bad_guard;               // 1 + index of an overwritten guard, largest; 0: none
  fib_u64 reserved;
};

struct DigestArguments {
  fib_u64 address, bytes;  // 16-byte aligned
  fib_u64 salt;            // buffers under one digest differ in it
  fib_u64 digest;          // address of two words, added to
};

enum { kDeviceErrorBins = 16 };
// harness/compare.h's ErrorStats, accumulated over launches.
struct DeviceErrorStats {
  fib_u64 count, nonfinite_mismatches, elements_over_bound;
  fib_u64 first_bad_index;  // all ones: none
  double sum_squared_error, sum_squared_reference;
  // Non-negative doubles order as their bits do.
  fib_u64 max_absolute_error_bits, max_relative_error_bits, max_normalised_error_bits;
  fib_u64 histogram[kDeviceErrorBins];
};

struct CompareArguments {
  fib_u64 candidate;   // address of the whole output
  fib_u64 expected;    // float32 values of elements [first, first + count)
  fib_u64 row_scale;   // float32, from row first / row_length on
  fib_u64 stats;       // address of DeviceErrorStats
  fib_u64 first, count, row_length;
  double max_error_rms;
  int format;          // ElementFormat
};

}  // namespace fib
