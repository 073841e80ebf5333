#pragma once

// A tokenizer whose tokens are the 256 bytes and three special ones, so that tests can tell what
// text becomes which tokens, and characters fall apart into several.

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "integrations/serving/http/openai_request.h"
#include "integrations/serving/tokenizer/tokenizer.h"
#include "tests/scratch_folder.h"

namespace fib::testing {

inline constexpr TokenId kEndOfText = 256, kImStart = 257, kImEnd = 258;
inline constexpr int kByteVocabulary = 259;

class ByteModel {
 public:
  enum class Template { kChatMl, kNone, kUnknown };
  explicit ByteModel(Template chat = Template::kChatMl);

  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const Result<ChatTemplate>& chat_template() const { return chat_template_; }
  GenerationDefaults defaults() const {
    return {.vocab_size = kByteVocabulary, .context_length = context_length};
  }

  int context_length = 4096;

 private:
  ScratchFolder folder_;
  std::optional<Tokenizer> tokenizer_;
  Result<ChatTemplate> chat_template_;
};

std::vector<TokenId> bytes_as_tokens(std::string_view text);

}  // namespace fib::testing
