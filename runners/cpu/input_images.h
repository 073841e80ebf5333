#pragma once

// The values of a request's inputs, as the parent keeps them: what is copied into a call's buffers
// before it, and compared with them after it.
//
// Small inputs have an image in the parent and a buffer of their own in every call's cell. Large ones
// (weights, KV caches) would not fit so often: they lie in the arena once a value set, are shared by
// all calls of that set, and are checked by hash.

#include <cstddef>
#include <span>
#include <vector>

#include "workloads/inputs.h"

namespace fib {

class InputImages {
 public:
  InputImages(const Problem& problem, const std::vector<InputSet>& sets, int threads);

  size_t sets() const { return sets_.size(); }
  const InputSet& set(size_t set) const { return sets_[set]; }
  // Bytes of image in the parent that these inputs need.
  static size_t image_bytes(const Problem& problem, size_t sets);

  static bool is_shared(const TensorDesc& input);
  std::span<const std::byte> image(size_t set, size_t input) const;  // of an input not shared
  void write(size_t set, size_t input, std::span<std::byte> out) const;

 private:
  const Problem& problem_;
  const std::vector<InputSet>& sets_;
  int threads_;
  std::vector<std::vector<std::vector<std::byte>>> images_;  // by set and input
};

}  // namespace fib
