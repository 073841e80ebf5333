#include "integrations/serving/tokenizer/byte_alphabet.h"

#include <cstdint>

#include "signatures/base/utf8.h"

namespace fib {
namespace {

// Printable bytes of Latin-1 stand for themselves; the others take U+0100, U+0101, ... in turn.
constexpr bool stands_for_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

constexpr int kFirstStandIn = 0x100;
constexpr int kCodepoints = kFirstStandIn + 0x21 + 0x22 + 1;  // the stand-ins of 68 bytes

std::array<int, 256> make_codepoints() {
  std::array<int, 256> codepoints{};
  int next = kFirstStandIn;
  for (int byte = 0; byte < 256; ++byte) codepoints[byte] = stands_for_itself(byte) ? byte : next++;
  return codepoints;
}

// Every character of the alphabet is below U+0800: one byte or two.
std::string to_utf8(int codepoint) {
  if (codepoint < 0x80) return {static_cast<char>(codepoint)};
  return {static_cast<char>(0xc0 | codepoint >> 6), static_cast<char>(0x80 | (codepoint & 0x3f))};
}

}  // namespace

const std::array<std::string, 256>& byte_alphabet() {
  static const std::array<std::string, 256> alphabet = [] {
    std::array<std::string, 256> made;
    const std::array<int, 256> codepoints = make_codepoints();
    for (int byte = 0; byte < 256; ++byte) made[byte] = to_utf8(codepoints[byte]);
    return made;
  }();
  return alphabet;
}

std::optional<std::string> bytes_of_piece(std::string_view piece) {
  static const std::array<int16_t, kCodepoints> byte_of = [] {
    std::array<int16_t, kCodepoints> made;
    made.fill(-1);
    const std::array<int, 256> codepoints = make_codepoints();
    for (int byte = 0; byte < 256; ++byte) made[codepoints[byte]] = static_cast<int16_t>(byte);
    return made;
  }();

  std::string bytes;
  while (!piece.empty()) {
    const size_t length = utf8_length(piece);
    if (length == 0 || length > 2) return std::nullopt;
    const int first = static_cast<uint8_t>(piece[0]);
    const int codepoint =
        length == 1 ? first : (first & 0x1f) << 6 | (static_cast<uint8_t>(piece[1]) & 0x3f);
    if (codepoint >= kCodepoints || byte_of[codepoint] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(byte_of[codepoint]));
    piece.remove_prefix(length);
  }
  return bytes;
}

}  // namespace fib
