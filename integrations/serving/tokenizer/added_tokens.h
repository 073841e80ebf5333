#pragma once

// Tokens that are found in the text as they are written, before anything is cut into words:
// "<|im_start|>".

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "integrations/serving/tokenizer/tokenizer.h"
#include "signatures/base/json.h"

namespace fib {

struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool is_special = false;
  bool is_normalized = false;   // looked for in the normalised text, not in the original one
  bool is_single_word = false;  // not inside a word
  bool takes_left_space = false, takes_right_space = false;
};

// One of tokenizer.json's /added_tokens.
Result<AddedToken> read_added_token(const JsonView& view, TokenId id);

// Finds the tokens of a set in a text.
class AddedTokenFinder {
 public:
  struct Piece {
    std::string_view text;
    std::optional<TokenId> token;  // none: ordinary text
  };

  void add(AddedToken token);
  // The whole text as pieces in order. Of tokens that start at the same place the longest wins.
  std::vector<Piece> split(std::string_view text, Tokenizer::SpecialTokens special) const;

 private:
  const AddedToken* match_at(std::string_view text) const;

  std::array<std::vector<AddedToken>, 256> by_first_byte_;  // longest first
};

}  // namespace fib
