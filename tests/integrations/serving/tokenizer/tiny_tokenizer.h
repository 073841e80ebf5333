#pragma once

// A tokenizer.json of a few merges, to be bent to what a test is about.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "integrations/serving/tokenizer/byte_alphabet.h"
#include "integrations/serving/tokenizer/tokenizer.h"
#include "signatures/base/file.h"
#include "signatures/base/json.h"
#include "tests/scratch_folder.h"

namespace fib {

// Tokens 0..255 are the bytes, then "th", "the", " the", "he", "aa", "aaaa" in this order; 300 is
// "<|end|>", special, 301 "<tool>", not special.
inline Json tiny_tokenizer() {
  const std::string space = byte_alphabet()[' '];
  Json vocabulary = Json::object();
  for (int byte = 0; byte < 256; ++byte) vocabulary[byte_alphabet()[byte]] = byte;
  int id = 256;
  for (const std::string& piece : {std::string("th"), std::string("the"), space + "the",
                                   std::string("he"), std::string("aa"), std::string("aaaa")})
    vocabulary[piece] = id++;
  const auto added = [](int token, std::string content, bool special) {
    return Json{{"id", token},          {"content", std::move(content)},
                {"single_word", false}, {"lstrip", false},
                {"rstrip", false},      {"normalized", false},
                {"special", special}};
  };
  return {
      {"version", "1.0"},
      {"added_tokens", Json::array({added(300, "<|end|>", true), added(301, "<tool>", false)})},
      {"normalizer", nullptr},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
      {"post_processor", nullptr},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model",
       {{"type", "BPE"},
        {"vocab", vocabulary},
        {"merges", Json::array({"t h", "th e", space + " the", "h e", "a a", "aa aa"})}}},
  };
}

class TinyFolder {
 public:
  explicit TinyFolder(const Json& tokenizer = tiny_tokenizer()) {
    write("tokenizer.json", tokenizer);
  }
  void write(const std::string& name, const Json& json) { write_text(name, dump_json(json)); }
  void write_text(const std::string& name, const std::string& text) {
    EXPECT_TRUE(write_file_atomically(scratch_ / name, text));
  }
  const std::filesystem::path& path() const { return scratch_.path(); }
  Result<Tokenizer> open() const { return Tokenizer::open(path()); }

 private:
  ScratchFolder scratch_;
};

inline std::vector<TokenId> encode(const Tokenizer& tokenizer, std::string_view text,
                                   Tokenizer::SpecialTokens special) {
  auto tokens = tokenizer.encode(text, special);
  EXPECT_TRUE(tokens) << tokens.error().to_string();
  return tokens ? *tokens : std::vector<TokenId>{-1};
}

// Encodes with a tokenizer made of `json`.
inline std::vector<TokenId> encode(const Json& json, std::string_view text) {
  auto tokenizer = TinyFolder(json).open();
  EXPECT_TRUE(tokenizer) << tokenizer.error().to_string();
  return tokenizer ? encode(*tokenizer, text, Tokenizer::SpecialTokens::kParse)
                   : std::vector<TokenId>{-1};
}

}  // namespace fib
