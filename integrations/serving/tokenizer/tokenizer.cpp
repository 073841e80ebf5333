#include "integrations/serving/tokenizer/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "integrations/serving/tokenizer/added_tokens.h"
#include "integrations/serving/tokenizer/bpe.h"
#include "integrations/serving/tokenizer/byte_alphabet.h"
#include "integrations/serving/tokenizer/normalizer.h"
#include "integrations/serving/tokenizer/post_processor.h"
#include "integrations/serving/tokenizer/pre_tokenizer.h"
#include "integrations/serving/tokenizer/text_stream.h"
#include "signatures/base/json.h"
#include "signatures/base/utf8.h"

namespace fib {
namespace {

constexpr int64_t kMostAdded = 1 << 20;  // ids beyond the vocabulary that added tokens may have

Result<void> check_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_length(text.substr(at));
    if (length == 0)
      return fail(ErrorCode::kInvalidInput, fmt::format("the text is not UTF-8 at byte {}", at));
    at += length;
  }
  return {};
}

}  // namespace

struct Tokenizer::Impl {
  struct Token {
    std::string piece, bytes;
    bool is_added = false, is_special = false;
  };

  BpeModel bpe;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  PostProcessor post_processor;
  AddedTokenFinder added, normalized_added;
  std::vector<Token> tokens;                               // by id; a gap has an empty piece
  std::unordered_map<std::string_view, TokenId> by_piece;  // views of `tokens`

  static Result<Impl> read(const JsonView& file);
  Result<void> add_token(const JsonView& view, int64_t id);
  Result<void> add_configured_tokens(const JsonView& config);
  Result<void> apply_bos_setting(const JsonView& config);
  Result<void> index_pieces(const JsonView& file);
  Result<void> check_post_processor(const JsonView& file) const;
  Result<void> encode_words(std::string_view text, BpeModel::Scratch& scratch,
                            std::vector<TokenId>& out) const;
};

Result<Tokenizer::Impl> Tokenizer::Impl::read(const JsonView& file) {
  Impl impl;
  impl.bpe = FIB_TRY(BpeModel::read(FIB_TRY(file.at("model"))));
  if (const auto view = file.find("normalizer")) impl.normalizer = FIB_TRY(Normalizer::read(*view));
  impl.pre_tokenizer = FIB_TRY(PreTokenizer::read(FIB_TRY(file.at("pre_tokenizer"))));
  if (const auto view = file.find("post_processor"))
    impl.post_processor = FIB_TRY(PostProcessor::read(*view));
  if (const auto view = file.find("decoder")) {
    const JsonView type = FIB_TRY(view->at("type"));
    if (const std::string name = FIB_TRY(type.string()); name != "ByteLevel")
      return fail(ErrorCode::kUnsupported, fmt::format("decoder '{}'", name), type.location(),
                  "only byte-level BPE tokenizers are read");
  }

  for (const auto& [piece, id] : impl.bpe.vocabulary()) {
    const size_t index = static_cast<size_t>(id);
    if (index >= impl.tokens.size()) impl.tokens.resize(index + 1);
    // A piece outside the alphabet can only be an added token, or one that never appears.
    impl.tokens[index] = {.piece = piece, .bytes = bytes_of_piece(piece).value_or(piece)};
  }
  if (const auto list = file.find("added_tokens"))
    for (const JsonView& view : FIB_TRY(list->array())) {
      const JsonView id_view = FIB_TRY(view.at("id"));
      const int64_t id = FIB_TRY(id_view.integer());
      FIB_CHECK(impl.add_token(view, id));
    }
  return impl;
}

// tokenizer_config.json may know tokens that tokenizer.json doesn't.
Result<void> Tokenizer::Impl::add_configured_tokens(const JsonView& config) {
  const auto list = config.find("added_tokens_decoder");
  if (!list) return {};
  for (const auto& [key, view] : FIB_TRY(list->object())) {
    const bool is_number = !key.empty() && key.size() < 10 &&
                           std::ranges::all_of(key, [](char c) { return c >= '0' && c <= '9'; });
    if (!is_number) return view.error(fmt::format("'{}' is not a token id", key));
    const size_t id = std::stoul(key);
    const JsonView content = FIB_TRY(view.at("content"));
    const bool is_known =
        id < tokens.size() && tokens[id].is_added && tokens[id].piece == FIB_TRY(content.string());
    if (!is_known) FIB_CHECK(add_token(view, static_cast<int64_t>(id)));
  }
  return {};
}

// Llama's class makes its own post-processor of add_bos_token; others leave the file's.
Result<void> Tokenizer::Impl::apply_bos_setting(const JsonView& config) {
  const auto name = config.find("tokenizer_class");
  const auto adds_bos = config.find("add_bos_token");
  if (!name || !adds_bos) return {};
  if (!FIB_TRY(name->string()).starts_with("LlamaTokenizer")) return {};
  post_processor.before.clear();
  if (!FIB_TRY(adds_bos->boolean())) return {};
  const JsonView bos = FIB_TRY(config.at("bos_token"));
  const JsonView text = bos.json().is_object() ? FIB_TRY(bos.at("content")) : bos;
  const auto token = by_piece.find(FIB_TRY(text.string()));
  if (token == by_piece.end()) return text.error("is not in the vocabulary");
  post_processor.before = {token->second};
  return {};
}

Result<void> Tokenizer::Impl::add_token(const JsonView& view, int64_t id) {
  const int64_t most = static_cast<int64_t>(bpe.vocabulary().size()) + kMostAdded;
  if (id < 0 || id > most) return view.error(fmt::format("token id {} is not in 0..{}", id, most));
  AddedToken token = FIB_TRY(read_added_token(view, static_cast<TokenId>(id)));
  const size_t index = static_cast<size_t>(id);
  if (index >= tokens.size()) tokens.resize(index + 1);
  if (!tokens[index].piece.empty() && tokens[index].piece != token.content)
    return view.error(
        fmt::format("token {} is '{}' and '{}'", id, tokens[index].piece, token.content));
  tokens[index] = {.piece = token.content,
                   .bytes = token.is_special ? "" : token.content,
                   .is_added = true,
                   .is_special = token.is_special};
  if (token.is_normalized) {
    token.content = FIB_TRY(normalizer.apply(token.content));
    normalized_added.add(std::move(token));
  } else {
    added.add(std::move(token));
  }
  return {};
}

Result<void> Tokenizer::Impl::index_pieces(const JsonView& file) {
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id].piece.empty()) continue;
    const auto [first, is_new] = by_piece.emplace(tokens[id].piece, static_cast<TokenId>(id));
    if (!is_new)
      return file.error(
          fmt::format("'{}' is token {} and token {}", first->first, first->second, id));
  }
  return {};
}

Result<void> Tokenizer::Impl::check_post_processor(const JsonView& file) const {
  for (const auto* list : {&post_processor.before, &post_processor.after})
    for (const TokenId id : *list)
      if (id < 0 || static_cast<size_t>(id) >= tokens.size())
        return FIB_TRY(file.at("post_processor")).error(fmt::format("there is no token {}", id));
  return {};
}

Result<void> Tokenizer::Impl::encode_words(std::string_view text, BpeModel::Scratch& scratch,
                                           std::vector<TokenId>& out) const {
  Words words{.words = {text}};
  FIB_CHECK(pre_tokenizer.apply(words));
  for (const std::string_view word : words.words) bpe.encode(word, scratch, out);
  return {};
}

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::open(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "tokenizer.json";
  const Json json = FIB_TRY(read_json_file(path));
  const JsonView file(json, path.string());
  auto impl = std::make_unique<Impl>(FIB_TRY(Impl::read(file)));

  const std::filesystem::path config_path = folder / "tokenizer_config.json";
  Json config_json = Json::object();
  if (std::filesystem::exists(config_path)) config_json = FIB_TRY(read_json_file(config_path));
  const JsonView config(config_json, config_path.string());
  FIB_CHECK(impl->add_configured_tokens(config));
  FIB_CHECK(impl->index_pieces(file));
  FIB_CHECK(impl->apply_bos_setting(config));
  FIB_CHECK(impl->check_post_processor(file));
  return Tokenizer(std::move(impl));
}

Result<std::vector<TokenId>> Tokenizer::encode(std::string_view text, SpecialTokens special) const {
  FIB_CHECK(check_utf8(text));
  std::vector<TokenId> tokens;
  BpeModel::Scratch scratch;
  for (const auto& piece : impl_->added.split(text, special)) {
    if (piece.token) {
      tokens.push_back(*piece.token);
      continue;
    }
    const std::string normal = FIB_TRY(impl_->normalizer.apply(piece.text));
    for (const auto& inner : impl_->normalized_added.split(normal, special)) {
      if (inner.token) {
        tokens.push_back(*inner.token);
      } else {
        FIB_CHECK(impl_->encode_words(inner.text, scratch, tokens));
      }
    }
  }

  const auto& [before, after] = impl_->post_processor;
  const bool has_before =
      tokens.size() >= before.size() && std::equal(before.begin(), before.end(), tokens.begin());
  if (!has_before) tokens.insert(tokens.begin(), before.begin(), before.end());
  tokens.insert(tokens.end(), after.begin(), after.end());
  return tokens;
}

std::string_view Tokenizer::bytes(TokenId token) const {
  if (token < 0 || token >= vocab_size()) return {};
  return impl_->tokens[static_cast<size_t>(token)].bytes;
}

std::string_view Tokenizer::piece(TokenId token) const {
  if (token < 0 || token >= vocab_size()) return {};
  return impl_->tokens[static_cast<size_t>(token)].piece;
}

bool Tokenizer::is_special(TokenId token) const {
  return token >= 0 && token < vocab_size() && impl_->tokens[static_cast<size_t>(token)].is_special;
}

std::optional<TokenId> Tokenizer::find(std::string_view piece) const {
  const auto found = impl_->by_piece.find(piece);
  if (found == impl_->by_piece.end()) return std::nullopt;
  return found->second;
}

int Tokenizer::vocab_size() const { return static_cast<int>(impl_->tokens.size()); }

std::string Tokenizer::decode(const std::vector<TokenId>& tokens) const {
  std::string bytes;
  for (const TokenId token : tokens) bytes += this->bytes(token);
  return take_characters(bytes, TextEnd::kClosed);
}

}  // namespace fib
