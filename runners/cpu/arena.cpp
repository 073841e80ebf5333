#include "runners/cpu/arena.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "workloads/generator.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fib {
namespace {

constexpr size_t kGuardBytes = 256;      // at least, on each side of a buffer
constexpr size_t kSlackPerGap = 1024;    // on average, to move in
constexpr size_t kPatternBytes = 8192;
constexpr size_t kPoisonBytes = 64 << 10;

size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

}  // namespace

GuardPattern::GuardPattern(Random& random) : tile_(kPatternBytes) {
  for (size_t i = 0; i < tile_.size(); i += sizeof(uint64_t)) {
    const uint64_t word = random();
    std::memcpy(tile_.data() + i, &word, sizeof word);
  }
}

void GuardPattern::fill(std::span<std::byte> region, size_t phase) const {
  for (size_t done = 0; done < region.size();) {
    const size_t at = (phase + done) % tile_.size();
    const size_t count = std::min(tile_.size() - at, region.size() - done);
    std::memcpy(region.data() + done, tile_.data() + at, count);
    done += count;
  }
}

std::optional<size_t> GuardPattern::first_difference(std::span<const std::byte> region,
                                                     size_t phase) const {
  for (size_t done = 0; done < region.size();) {
    const size_t at = (phase + done) % tile_.size();
    const size_t count = std::min(tile_.size() - at, region.size() - done);
    if (std::memcmp(region.data() + done, tile_.data() + at, count) != 0) {
      const auto differ = std::mismatch(region.begin() + static_cast<ptrdiff_t>(done),
                                        region.begin() + static_cast<ptrdiff_t>(done + count),
                                        tile_.begin() + static_cast<ptrdiff_t>(at));
      return static_cast<size_t>(differ.first - region.begin());
    }
    done += count;
  }
  return std::nullopt;
}

size_t Cell::bytes_for(const std::vector<BufferSpec>& buffers) {
  size_t bytes = 2 * kGuardBytes + kSlackPerGap;
  for (const BufferSpec& buffer : buffers)
    bytes += round_up(buffer.bytes, kBufferAlignment) + 2 * kGuardBytes + kSlackPerGap;
  return round_up(bytes, kBufferAlignment);
}

Cell::Cell(std::span<std::byte> arena, size_t begin, std::vector<BufferSpec> buffers)
    : arena_(arena),
      begin_(begin),
      end_(begin + bytes_for(buffers)),
      buffers_(std::move(buffers)),
      offsets_(buffers_.size()),
      order_(buffers_.size()) {
  std::iota(order_.begin(), order_.end(), size_t{0});
}

void Cell::place(const GuardPattern& pattern, Random& random) {
  std::shuffle(order_.begin(), order_.end(), random);
  phase_ = random() % kPatternBytes;
  size_t slack = (order_.size() + 1) * kSlackPerGap / kBufferAlignment;  // in lines
  size_t at = begin_ + 2 * kGuardBytes;
  for (size_t position = 0; position < order_.size(); ++position) {
    // An even share of what is left, twice it at most: the last ones have room to move too.
    const size_t share = 2 * slack / (order_.size() - position + 1);
    const size_t step = std::min<size_t>(random() % (share + 1), slack);
    slack -= step;
    at += step * kBufferAlignment;
    offsets_[order_[position]] = at;
    at += round_up(buffers_[order_[position]].bytes, kBufferAlignment) + 2 * kGuardBytes;
  }
  for_each_guard([&](size_t begin, size_t end, int64_t, int64_t) {
    pattern.fill(arena_.subspan(begin, end - begin), phase_ + begin);
    return true;
  });
}

std::span<std::byte> Cell::buffer(size_t buffer) const {
  return arena_.subspan(offsets_[buffer], buffers_[buffer].bytes);
}

template <class Visit>
void Cell::for_each_guard(const Visit& visit) const {
  size_t at = begin_;
  int64_t before = -1;
  for (const size_t buffer : order_) {
    if (!visit(at, offsets_[buffer], before, static_cast<int64_t>(buffer))) return;
    at = offsets_[buffer] + buffers_[buffer].bytes;
    before = static_cast<int64_t>(buffer);
  }
  visit(at, end_, before, int64_t{-1});
}

std::optional<std::string> Cell::damage(const GuardPattern& pattern) const {
  std::optional<std::string> found;
  for_each_guard([&](size_t begin, size_t end, int64_t before, int64_t after) {
    const auto at = pattern.first_difference(arena_.subspan(begin, end - begin), phase_ + begin);
    if (!at) return true;
    // The write belongs to the nearer buffer.
    const size_t past = *at, ahead = end - begin - *at;
    if (after < 0 || (before >= 0 && past <= ahead)) {
      found = fmt::format("memory {} bytes past the end of {} was overwritten", past + 1,
                          buffers_[static_cast<size_t>(before)].name);
    } else {
      found = fmt::format("memory {} bytes before the start of {} was overwritten", ahead,
                          buffers_[static_cast<size_t>(after)].name);
    }
    return false;
  });
  return found;
}

Poison::Poison(DType dtype, Random& random) : tile_(kPoisonBytes) {
  const Generated generated{random(), 0, resolve_distribution({}, dtype)};
  const int64_t count = static_cast<int64_t>(kPoisonBytes * 8) / bits_of(dtype);
  fill_generated(generated, dtype, 0, count, tile_.data());
}

void Poison::fill(std::span<std::byte> region, Random& random) const {
  size_t at = random() % (kPoisonBytes / kBufferAlignment) * kBufferAlignment;
  for (size_t done = 0; done < region.size();) {
    const size_t count = std::min(tile_.size() - at, region.size() - done);
    std::memcpy(region.data() + done, tile_.data() + at, count);
    done += count;
    at = 0;
  }
}

uint64_t content_hash(std::span<const std::byte> bytes, uint64_t seed) {
  constexpr size_t kLanes = 8;
  constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15;
  uint64_t lanes[kLanes];
  for (size_t i = 0; i < kLanes; ++i) lanes[i] = (seed + i + 1) * kMultiplier;
  const auto mix = [&](const std::byte* block) {
    for (size_t i = 0; i < kLanes; ++i) {
      uint64_t word;
      std::memcpy(&word, block + i * sizeof word, sizeof word);
      lanes[i] = (lanes[i] ^ word) * kMultiplier;
      lanes[i] ^= lanes[i] >> 29;
    }
  };
  constexpr size_t kBlock = kLanes * sizeof(uint64_t);
  size_t at = 0;
  for (; at + kBlock <= bytes.size(); at += kBlock) mix(bytes.data() + at);
  std::byte rest[kBlock] = {};
  std::copy(bytes.begin() + static_cast<ptrdiff_t>(at), bytes.end(), rest);
  mix(rest);
  uint64_t hash = bytes.size();
  for (const uint64_t lane : lanes) {
    hash = (hash ^ lane) * kMultiplier;
    hash ^= hash >> 32;
  }
  return hash;
}

#if defined(__x86_64__)
void evict_from_caches(std::span<const std::byte> region) {
  for (size_t at = 0; at < region.size(); at += kBufferAlignment) _mm_clflush(region.data() + at);
  _mm_mfence();
}
#elif defined(__aarch64__)
void evict_from_caches(std::span<const std::byte> region) {
  for (size_t at = 0; at < region.size(); at += kBufferAlignment)
    __asm__ volatile("dc civac, %0" ::"r"(region.data() + at) : "memory");
  __asm__ volatile("dsb ish" ::: "memory");
}
#else
#error "fib's cpu target needs a way to evict cache lines on this architecture"
#endif

}  // namespace fib
