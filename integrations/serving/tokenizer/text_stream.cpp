#include "integrations/serving/tokenizer/text_stream.h"

#include <algorithm>
#include <array>

#include "integrations/serving/tokenizer/tokenizer.h"
#include "signatures/base/utf8.h"

namespace fib {
namespace {

// Bytes of the longest beginning of a character that `text` starts with; 0 where it starts with a
// byte that begins none. `text` does not start with a whole character.
size_t begun_length(std::string_view text) {
  // What is missing is filled up with bytes that are allowed in every place, or in the second place
  // after the leads that allow fewer there.
  constexpr std::array<std::string_view, 2> kFillings = {"\x80\x80\x80", "\xbf\xbf\xbf"};
  for (size_t kept = std::min<size_t>(text.size(), 3); kept > 0; --kept)
    for (const std::string_view filling : kFillings) {
      std::string filled(text.substr(0, kept));
      filled += filling;
      if (utf8_length(filled) > kept) return kept;
    }
  return 0;
}

}  // namespace

std::string take_characters(std::string& bytes, TextEnd end) {
  std::string text;
  size_t at = 0;
  while (at < bytes.size()) {
    const std::string_view rest = std::string_view(bytes).substr(at);
    if (const size_t length = utf8_length(rest)) {
      text += rest.substr(0, length);
      at += length;
      continue;
    }
    const size_t begun = begun_length(rest);
    if (begun == rest.size() && end == TextEnd::kOpen) break;
    text += kReplacementCharacter;
    at += std::max<size_t>(begun, 1);
  }
  bytes.erase(0, at);
  return text;
}

std::string TextStream::push(TokenId token) {
  pending_ += tokenizer_->bytes(token);
  return take_characters(pending_, TextEnd::kOpen);
}

std::string TextStream::finish() { return take_characters(pending_, TextEnd::kClosed); }

}  // namespace fib
