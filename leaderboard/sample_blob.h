#pragma once

// Raw samples as the store keeps them: an array of 36-byte little-endian records, in this order:
// f64 time_ns, u32 contender, value_set, round, calls, sm_clock_mhz, memory_clock_mhz,
// throttle_reasons (docs/store.md).

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "harness/sample.h"

namespace fib {

inline constexpr size_t kSampleRecordBytes = 36;

std::vector<std::byte> encode_samples(std::span<const Sample> samples);
// `where` names the row in errors: a length that is no whole number of records.
Result<std::vector<Sample>> decode_samples(std::span<const std::byte> blob, std::string_view where);

}  // namespace fib
