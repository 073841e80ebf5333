#pragma once

// The memory that a candidate works on, shared by the parent and the worker: a control page, then
// cells. A cell is a stretch in which buffers lie at random places; all of it that is not a buffer is
// guard, filled with a random pattern that only the parent knows how to repeat.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "signatures/base/dtype.h"

namespace fib {

// First thing in the arena. A batch's ticket travels: the worker stores it in `armed` when it is
// ready, the parent in `doorbell` to start, the worker in `answer` when all calls have returned.
struct BatchControl {
  alignas(64) std::atomic<uint32_t> armed;
  alignas(64) std::atomic<uint32_t> doorbell;
  alignas(64) std::atomic<uint32_t> answer;
};
inline constexpr size_t kControlBytes = 4096;
inline constexpr size_t kBufferAlignment = 64;

using Random = std::mt19937_64;

struct BufferSpec {
  std::string name;  // for messages: "output 'lse'", "the workspace"
  size_t bytes = 0;
};

// Random bytes that guards repeat.
class GuardPattern {
 public:
  explicit GuardPattern(Random& random);
  void fill(std::span<std::byte> region, size_t phase) const;
  // Index of the first byte that differs.
  std::optional<size_t> first_difference(std::span<const std::byte> region, size_t phase) const;

 private:
  std::vector<std::byte> tile_;
};

class Cell {
 public:
  // Bytes of a cell for these buffers: each with at least 256 bytes of guard on both sides, and room
  // to move.
  static size_t bytes_for(const std::vector<BufferSpec>& buffers);

  Cell(std::span<std::byte> arena, size_t begin, std::vector<BufferSpec> buffers);

  // New random places and a fresh guard. The buffers' contents are undefined after.
  void place(const GuardPattern& pattern, Random& random);
  size_t offset(size_t buffer) const { return offsets_[buffer]; }  // from the arena's begin
  std::span<std::byte> buffer(size_t buffer) const;
  // Which guard is broken, in words for the author.
  std::optional<std::string> damage(const GuardPattern& pattern) const;

 private:
  // Calls visit(begin, end, buffer before or -1, buffer after or -1) for each stretch of guard.
  template <class Visit>
  void for_each_guard(const Visit& visit) const;

  std::span<std::byte> arena_;
  size_t begin_;
  size_t end_;
  std::vector<BufferSpec> buffers_;
  std::vector<size_t> offsets_;  // by buffer
  std::vector<size_t> order_;    // of the buffers in memory
  size_t phase_ = 0;             // where in the pattern the guard starts
};

// What outputs and workspace hold before a call: values as a kernel could have produced them,
// different in every place, so that poison can't be told from a result.
class Poison {
 public:
  Poison(DType dtype, Random& random);
  void fill(std::span<std::byte> region, Random& random) const;

 private:
  std::vector<std::byte> tile_;
};

// A fast hash of contents under a secret seed. Not for keys on disk.
uint64_t content_hash(std::span<const std::byte> bytes, uint64_t seed);

// Pushes the lines of a region out of all caches of the machine.
void evict_from_caches(std::span<const std::byte> region);

}  // namespace fib
