#include "tests/integrations/serving/http/byte_model.h"

#include <stdexcept>

#include "signatures/base/json.h"

namespace fib::testing {
namespace {

std::string utf8(int code_point) {  // below 0x800
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xc0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 0x3f))};
}

// How byte-level tokenizers spell a byte: itself where it is printable, else from U+0100 on.
std::vector<std::string> byte_spellings() {
  std::vector<std::string> spellings;
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool is_printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) ||
                              (byte >= 0xae && byte <= 0xff);
    spellings.push_back(utf8(is_printable ? byte : next++));
  }
  return spellings;
}

Json tokenizer_json() {
  Json vocabulary = Json::object();
  int id = 0;
  for (const std::string& spelling : byte_spellings()) vocabulary[spelling] = id++;
  Json added = Json::array();
  for (const char* content : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) {
    added.push_back({{"id", id++},
                     {"content", content},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", true}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", std::move(added)},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", nullptr},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"vocab", std::move(vocabulary)},
            {"merges", Json::array()}}}};
}

constexpr const char* kChatMl =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' "
    "}}{% endif %}";

template <class T>
T opened(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().to_string());
  return std::move(*result);
}

}  // namespace

ByteModel::ByteModel(Template chat) {
  Json config = {{"bos_token", nullptr}, {"eos_token", "<|endoftext|>"}};
  if (chat == Template::kChatMl) config["chat_template"] = kChatMl;
  if (chat == Template::kUnknown) config["chat_template"] = "{{ messages | told_as_a_story }}";
  std::ofstream(folder_ / "tokenizer.json") << dump_json(tokenizer_json());
  std::ofstream(folder_ / "tokenizer_config.json") << dump_json(config);
  tokenizer_ = opened(Tokenizer::open(folder_.path()));
  chat_template_ = ChatTemplate::open(folder_.path());
}

std::vector<TokenId> bytes_as_tokens(std::string_view text) {
  std::vector<TokenId> tokens;
  for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
  return tokens;
}

}  // namespace fib::testing
