#include "integrations/serving/engine/block_hash.h"

#include <charconv>
#include <string>
#include <string_view>

#include "signatures/base/hash.h"

namespace fib {
namespace {

constexpr size_t kWordDigits = 16;

uint64_t hex_word(std::string_view digits) {
  uint64_t value = 0;
  std::from_chars(digits.data(), digits.data() + kWordDigits, value, 16);
  return value;
}

}  // namespace

BlockHash hash_block(const BlockHash& parent, std::span<const TokenId> tokens) {
  Hasher hasher;
  hasher.add(parent.high).add(parent.low);
  hasher.add({reinterpret_cast<const char*>(tokens.data()), tokens.size_bytes()});
  const std::string hex = hasher.hex();
  return {hex_word(hex), hex_word(std::string_view(hex).substr(kWordDigits))};
}

}  // namespace fib
