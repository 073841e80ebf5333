#pragma once

// Byte-pair encoding of one word: its bytes are merged pair by pair, the earliest-learned merge
// first, until none applies.

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "integrations/serving/engine/request.h"
#include "signatures/base/json.h"

namespace fib {

class BpeModel {
 public:
  // From tokenizer.json's /model. kUnsupported where it isn't BPE over bytes.
  static Result<BpeModel> read(const JsonView& model);

  // What encoding allocates, kept from word to word.
  struct Scratch {
    struct Symbol {
      TokenId token;
      int previous, next;  // -1: none; a symbol that was merged away has token -1
    };
    struct Candidate {  // a pair that may be merged
      int rank;
      int left;
      TokenId merged;
      // The heap's greatest is the lowest rank, of equals the leftmost.
      bool operator<(const Candidate& other) const {
        return std::pair(rank, left) > std::pair(other.rank, other.left);
      }
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };
  // Appends the tokens of `word` (bytes) to `tokens`. Takes n log n steps for n bytes.
  void encode(std::string_view word, Scratch& scratch, std::vector<TokenId>& tokens) const;

  const std::vector<std::pair<std::string, TokenId>>& vocabulary() const { return vocabulary_; }

 private:
  struct Merge {
    int rank;
    TokenId merged;
  };
  static uint64_t pair_key(TokenId left, TokenId right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  Result<void> read_vocabulary(const JsonView& model);
  Result<void> read_merges(const JsonView& model);
  void push_candidate(Scratch& scratch, int left) const;
  void start(std::string_view word, Scratch& scratch) const;

  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  std::vector<std::pair<std::string, TokenId>> vocabulary_;  // pieces as the file spells them
  std::unordered_map<uint64_t, Merge> merges_;
  std::array<TokenId, 256> byte_tokens_{};  // -1: a byte that has none
  std::optional<TokenId> unknown_;
  // With ignore_merges: a word that is a token is that token, however merges would cut it.
  std::unordered_map<std::string, TokenId, Hash, std::equal_to<>> whole_words_;
  bool fuses_unknown_ = false;
};

}  // namespace fib
