#include "integrations/serving/tokenizer/bpe.h"

#include <fmt/format.h>

#include <algorithm>

#include "integrations/serving/tokenizer/byte_alphabet.h"

namespace fib {
namespace {

constexpr int64_t kLargestId = (1 << 24) - 1;  // far beyond any vocabulary, near enough to allocate

Failure unsupported(const JsonView& view, std::string message) {
  return fail(ErrorCode::kUnsupported, std::move(message), view.location(),
              "only byte-level BPE tokenizers are read");
}

Result<bool> model_flag(const JsonView& view, std::string_view key) {
  const auto member = view.find(key);
  return member ? member->boolean() : Result<bool>(false);
}

// A merge is "left right" in older files and ["left", "right"] in newer ones.
Result<std::pair<std::string, std::string>> read_merge(const JsonView& view) {
  if (view.json().is_array()) {
    std::vector<std::string> pair = FIB_TRY(view.strings());
    if (pair.size() != 2)
      return view.error(fmt::format("a merge is a pair, found {} pieces", pair.size()));
    return std::pair(std::move(pair[0]), std::move(pair[1]));
  }
  const std::string text = FIB_TRY(view.string());
  const size_t space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos)
    return view.error(fmt::format("'{}' is not a merge, which is two pieces and a space", text));
  return std::pair(text.substr(0, space), text.substr(space + 1));
}

}  // namespace

Result<BpeModel> BpeModel::read(const JsonView& model) {
  // Files of 2020 leave the type out.
  if (const auto type = model.find("type"); type && FIB_TRY(type->string()) != "BPE")
    return unsupported(*type, fmt::format("a {} model", FIB_TRY(type->string())));
  if (const auto fallback = model.find("byte_fallback"); fallback && FIB_TRY(fallback->boolean()))
    return unsupported(*fallback,
                       "byte_fallback: a SentencePiece vocabulary of characters, not of bytes");
  for (std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (const auto affix = model.find(key); affix && !FIB_TRY(affix->string()).empty())
      return unsupported(*affix, fmt::format("'{}' marks words in other ways than bytes", key));
  if (const auto dropout = model.find("dropout"); dropout && FIB_TRY(dropout->number()) != 0)
    return unsupported(*dropout, "merges that are dropped at random");

  BpeModel bpe;
  FIB_CHECK(bpe.read_vocabulary(model));
  FIB_CHECK(bpe.read_merges(model));
  bpe.fuses_unknown_ = FIB_TRY(model_flag(model, "fuse_unk"));
  return bpe;
}

Result<void> BpeModel::read_vocabulary(const JsonView& model) {
  const JsonView vocabulary = FIB_TRY(model.at("vocab"));
  std::unordered_map<TokenId, const std::string*> owners;
  const auto members = FIB_TRY(vocabulary.object());
  for (const auto& [piece, view] : members) {
    const int64_t id = FIB_TRY(view.integer());
    if (id < 0 || id > kLargestId)
      return view.error(fmt::format("token id {} is not in 0..{}", id, kLargestId));
    const auto [owner, is_new] = owners.emplace(static_cast<TokenId>(id), &piece);
    if (!is_new)
      return view.error(fmt::format("token {} is '{}' and '{}'", id, *owner->second, piece));
    vocabulary_.emplace_back(piece, static_cast<TokenId>(id));
    whole_words_.emplace(piece, static_cast<TokenId>(id));
  }
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = whole_words_.find(byte_alphabet()[byte]);
    byte_tokens_[byte] = found == whole_words_.end() ? -1 : found->second;
  }
  if (const auto unknown = model.find("unk_token")) {
    const auto found = whole_words_.find(FIB_TRY(unknown->string()));
    if (found == whole_words_.end()) return unknown->error("is not in the vocabulary");
    unknown_ = found->second;
  }
  return {};
}

// While this runs, whole_words_ holds the vocabulary as the file spells it; afterwards bytes, or
// nothing if merges decide.
Result<void> BpeModel::read_merges(const JsonView& model) {
  const auto find = [&](const std::string& piece) {
    const auto found = whole_words_.find(piece);
    return found == whole_words_.end() ? -1 : found->second;
  };
  int rank = 0;
  const JsonView list = FIB_TRY(model.at("merges"));
  for (const JsonView& view : FIB_TRY(list.array())) {
    const auto [left, right] = FIB_TRY(read_merge(view));
    const TokenId left_token = find(left), right_token = find(right), merged = find(left + right);
    if (left_token < 0 || right_token < 0 || merged < 0)
      return view.error(fmt::format("'{}' is not in the vocabulary", left_token < 0 ? left
                                                                     : right_token < 0
                                                                         ? right
                                                                         : left + right));
    merges_.insert_or_assign(pair_key(left_token, right_token), Merge{rank++, merged});
  }

  whole_words_.clear();
  if (!FIB_TRY(model_flag(model, "ignore_merges"))) return {};
  for (const auto& [piece, token] : vocabulary_)
    if (std::optional<std::string> bytes = bytes_of_piece(piece))
      whole_words_.emplace(*std::move(bytes), token);
  return {};
}

void BpeModel::push_candidate(Scratch& scratch, int left) const {
  const auto& symbols = scratch.symbols;
  if (left < 0 || symbols[left].next < 0) return;
  const auto found = merges_.find(pair_key(symbols[left].token, symbols[symbols[left].next].token));
  if (found == merges_.end()) return;
  scratch.heap.push_back({found->second.rank, left, found->second.merged});
  std::push_heap(scratch.heap.begin(), scratch.heap.end());
}

void BpeModel::start(std::string_view word, Scratch& scratch) const {
  auto& symbols = scratch.symbols;
  symbols.clear();
  scratch.heap.clear();
  bool is_after_unknown = false;
  for (const char character : word) {
    TokenId token = byte_tokens_[static_cast<uint8_t>(character)];
    const bool is_unknown = token < 0;
    if (is_unknown) {
      if (!unknown_ || (fuses_unknown_ && is_after_unknown)) continue;
      token = *unknown_;
    }
    is_after_unknown = is_unknown;
    const int index = static_cast<int>(symbols.size());
    symbols.push_back({token, index - 1, index + 1});
  }
  if (!symbols.empty()) symbols.back().next = -1;
}

void BpeModel::encode(std::string_view word, Scratch& scratch, std::vector<TokenId>& tokens) const {
  if (const auto whole = whole_words_.find(word); whole != whole_words_.end()) {
    tokens.push_back(whole->second);
    return;
  }
  start(word, scratch);
  auto& symbols = scratch.symbols;
  for (int left = 0; left + 1 < static_cast<int>(symbols.size()); ++left)
    push_candidate(scratch, left);

  while (!scratch.heap.empty()) {
    std::pop_heap(scratch.heap.begin(), scratch.heap.end());
    const Scratch::Candidate best = scratch.heap.back();
    scratch.heap.pop_back();

    // A candidate is stale once either side of it was merged with something else.
    Scratch::Symbol& left = symbols[best.left];
    if (left.token < 0 || left.next < 0) continue;
    Scratch::Symbol& right = symbols[left.next];
    const auto current = merges_.find(pair_key(left.token, right.token));
    if (current == merges_.end() || current->second.merged != best.merged) continue;

    left.token = best.merged;
    left.next = right.next;
    right.token = -1;
    if (left.next >= 0) symbols[left.next].previous = best.left;
    push_candidate(scratch, left.previous);
    push_candidate(scratch, best.left);
  }
  if (symbols.empty()) return;
  for (int at = 0; at >= 0; at = symbols[at].next) tokens.push_back(symbols[at].token);
}

}  // namespace fib
