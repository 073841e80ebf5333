#include "leaderboard/sample_blob.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

namespace fib {

// Fields are copied as they lie in memory, which is the file's order on these machines only.
static_assert(std::endian::native == std::endian::little);

std::vector<std::byte> encode_samples(std::span<const Sample> samples) {
  std::vector<std::byte> blob(samples.size() * kSampleRecordBytes);
  std::byte* out = blob.data();
  for (const Sample& sample : samples) {
    const uint32_t words[] = {sample.contender,       sample.value_set,    sample.round,
                              sample.calls,           sample.sm_clock_mhz, sample.memory_clock_mhz,
                              sample.throttle_reasons};
    static_assert(sizeof(sample.time_ns) + sizeof(words) == kSampleRecordBytes);
    std::memcpy(out, &sample.time_ns, sizeof(sample.time_ns));
    std::memcpy(out + sizeof(sample.time_ns), words, sizeof(words));
    out += kSampleRecordBytes;
  }
  return blob;
}

Result<std::vector<Sample>> decode_samples(std::span<const std::byte> blob,
                                           std::string_view where) {
  if (blob.size() % kSampleRecordBytes != 0) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("{} bytes of samples are no whole number of {}-byte records",
                            blob.size(), kSampleRecordBytes),
                std::string(where));
  }
  std::vector<Sample> samples(blob.size() / kSampleRecordBytes);
  const std::byte* in = blob.data();
  for (Sample& sample : samples) {
    uint32_t words[7];
    std::memcpy(&sample.time_ns, in, sizeof(sample.time_ns));
    std::memcpy(words, in + sizeof(sample.time_ns), sizeof(words));
    sample.contender = words[0];
    sample.value_set = words[1];
    sample.round = words[2];
    sample.calls = words[3];
    sample.sm_clock_mhz = words[4];
    sample.memory_clock_mhz = words[5];
    sample.throttle_reasons = words[6];
    in += kSampleRecordBytes;
  }
  return samples;
}

}  // namespace fib
