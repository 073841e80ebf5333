#pragma once

// Content hashes over length-prefixed fields, so that ("a", "bc") differs from ("ab", "c").
// SHA-256 (OpenSSL) for our own keys, SHA-1 for the trace ecosystem's solution identity.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace fib {

class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;

  Hasher& add(std::string_view field);   // 8-byte little-endian length, then the bytes
  Hasher& add(uint64_t value);           // tagged apart from strings
  std::string hex();                     // 64 hex digits; the hasher is spent
  uint64_t u64();                        // the first 8 bytes, little-endian; the hasher is spent

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string sha256_hex(std::string_view bytes);
std::string sha1_hex(std::string_view bytes);

}  // namespace fib
