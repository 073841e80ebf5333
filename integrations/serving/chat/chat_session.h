#pragma once

// A conversation in a terminal: reads lines, lets the model answer, keeps what has been said.

#include <cstddef>
#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "integrations/serving/engine/engine.h"
#include "integrations/serving/tokenizer/tokenizer.h"

namespace fib {

struct ChatOptions {
  SamplingParams sampling;    // max_tokens: of one answer at most; the seed moves on with each
  int context_length = 0;     // tokens that conversation and answer may have together
  std::string system;         // the system message; empty: none
  std::string prompt = "> ";  // before each line that is read; empty for input that is no terminal
  // Asked often while the model answers; true ends the answer. Asked once before it begins, for what
  // was meant for nothing. May be empty.
  std::function<bool()> is_interrupted;
};

struct ChatModel {  // what it refers to outlives the session
  Engine& engine;
  const Tokenizer& tokenizer;
  // One named "none" is of a base model: it continues what was written, line by line.
  const ChatTemplate& chat_template;
};

class ChatSession {
 public:
  ChatSession(ChatModel model, ChatOptions options);

  // Until the input ends or says /quit; /reset forgets the conversation. What the conversation or
  // the engine refuses is told in `err`, and the session goes on; an error is returned only when it
  // can't: the device is lost. Returns how many messages weren't answered.
  Result<size_t> run(std::istream& in, std::ostream& out, std::ostream& err);

 private:
  Result<void> answer(std::string line, std::ostream& out);
  Result<std::vector<TokenId>> fitting_prompt(std::ostream& out);
  Result<std::vector<TokenId>> prompt() const;
  Result<std::string> generate(std::vector<TokenId> prompt, std::ostream& out);
  bool continues_text() const { return model_.chat_template.name() == "none"; }
  void reset();

  const ChatModel model_;
  const ChatOptions options_;
  std::vector<ChatMessage> messages_;  // with a template
  std::string text_;                   // without
  uint64_t num_answers_ = 0;
};

}  // namespace fib
