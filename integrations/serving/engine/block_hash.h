#pragma once

// What a block of tokens is called in the prefix cache: a hash over the block and, by way of its
// parent's hash, everything before it. Cryptographic, because a collision would show one client
// the continuation of another's prompt.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "integrations/serving/engine/request.h"

namespace fib {

struct BlockHash {
  uint64_t high = 0, low = 0;
  friend bool operator==(const BlockHash&, const BlockHash&) = default;
};

// `parent`: of the block before; BlockHash{} for a sequence's first.
BlockHash hash_block(const BlockHash& parent, std::span<const TokenId> tokens);

}  // namespace fib

template <>
struct std::hash<fib::BlockHash> {
  size_t operator()(const fib::BlockHash& hash) const noexcept { return hash.low; }
};
