#include "integrations/serving/tokenizer/added_tokens.h"

#include <utf8proc.h>

#include <algorithm>

#include "signatures/base/utf8.h"

namespace fib {
namespace {

int32_t codepoint(std::string_view character) {
  utf8proc_int32_t value = 0;
  utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(character.data()),
                   static_cast<utf8proc_ssize_t>(character.size()), &value);
  return value;
}

std::string_view first_character(std::string_view text) {
  return text.substr(0, utf8_length(text));
}

std::string_view last_character(std::string_view text) {
  size_t start = text.size();
  while (start > 0) {
    --start;
    if ((static_cast<uint8_t>(text[start]) & 0xc0) != 0x80) break;
  }
  return text.substr(start);
}

bool is_space(std::string_view character) {
  const int32_t c = codepoint(character);
  if ((c >= 0x09 && c <= 0x0d) || c == 0x85) return true;
  const auto category = utf8proc_category(c);
  return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
         category == UTF8PROC_CATEGORY_ZP;
}

// Letters, marks, digits, connectors and joiners, as \w of a Unicode regex.
bool is_word(std::string_view character) {
  const int32_t c = codepoint(character);
  if (c == 0x200c || c == 0x200d) return true;
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: return false;
  }
}

Result<bool> flag(const JsonView& view, std::string_view key) {
  const auto member = view.find(key);
  return member ? member->boolean() : Result<bool>(false);
}

}  // namespace

Result<AddedToken> read_added_token(const JsonView& view, TokenId id) {
  AddedToken token{.id = id};
  const JsonView content = FIB_TRY(view.at("content"));
  token.content = FIB_TRY(content.non_empty_string());
  token.is_special = FIB_TRY(flag(view, "special"));
  token.is_normalized = FIB_TRY(flag(view, "normalized"));
  token.is_single_word = FIB_TRY(flag(view, "single_word"));
  token.takes_left_space = FIB_TRY(flag(view, "lstrip"));
  token.takes_right_space = FIB_TRY(flag(view, "rstrip"));
  return token;
}

void AddedTokenFinder::add(AddedToken token) {
  auto& tokens = by_first_byte_[static_cast<uint8_t>(token.content[0])];
  const auto place = std::ranges::find_if(
      tokens, [&](const AddedToken& other) { return other.content.size() < token.content.size(); });
  tokens.insert(place, std::move(token));
}

const AddedToken* AddedTokenFinder::match_at(std::string_view text) const {
  for (const AddedToken& token : by_first_byte_[static_cast<uint8_t>(text[0])])
    if (text.starts_with(token.content)) return &token;
  return nullptr;
}

std::vector<AddedTokenFinder::Piece> AddedTokenFinder::split(
    std::string_view text, Tokenizer::SpecialTokens special) const {
  std::vector<Piece> pieces;
  size_t done = 0;  // what is before this is in `pieces`
  for (size_t at = 0; at < text.size();) {
    const AddedToken* token = match_at(text.substr(at));
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + token->content.size();
    at = end;
    if (token->is_special && special == Tokenizer::SpecialTokens::kAsText) continue;
    if (token->is_single_word) {
      const bool is_inside = (begin > 0 && is_word(last_character(text.substr(0, begin)))) ||
                             (end < text.size() && is_word(first_character(text.substr(end))));
      if (is_inside) continue;
    }
    while (token->takes_left_space && begin > done &&
           is_space(last_character(text.substr(0, begin))))
      begin -= last_character(text.substr(0, begin)).size();
    while (token->takes_right_space && end < text.size() &&
           is_space(first_character(text.substr(end))))
      end += first_character(text.substr(end)).size();
    if (begin > done) pieces.push_back({text.substr(done, begin - done), std::nullopt});
    pieces.push_back({text.substr(begin, end - begin), token->id});
    done = at = end;
  }
  if (done < text.size()) pieces.push_back({text.substr(done), std::nullopt});
  return pieces;
}

}  // namespace fib
