#include "integrations/serving/chat/chat_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <istream>
#include <memory>
#include <mutex>
#include <optional>
#include <ostream>
#include <utility>

#include "integrations/serving/http/stop_matcher.h"

namespace fib {
namespace {

constexpr std::string_view kHelp = "Commands: /reset forgets the conversation, /quit ends it.\n";

// What the engine says, waiting for the session's thread.
class Mailbox : public RequestListener {
 public:
  struct End {
    FinishReason reason;
    std::optional<Error> error;
  };

  void on_token(const GeneratedToken& token) override {
    const std::lock_guard lock(mutex_);
    tokens_.push_back(token.token);
    changed_.notify_one();
  }

  void on_end(FinishReason reason, const RequestUsage&,
              const std::optional<Error>& error) override {
    const std::lock_guard lock(mutex_);
    end_ = End{reason, error};
    changed_.notify_one();
  }

  // Tokens and then the end; neither when `patience` runs out.
  struct News {
    std::deque<TokenId> tokens;
    std::optional<End> end;
  };
  News wait(std::chrono::milliseconds patience) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, patience, [this] { return end_ || !tokens_.empty(); });
    return {std::exchange(tokens_, {}), end_};
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<TokenId> tokens_;
  std::optional<End> end_;
};

}  // namespace

ChatSession::ChatSession(ChatModel model, ChatOptions options)
    : model_(model), options_(std::move(options)) {
  reset();
}

void ChatSession::reset() {
  messages_.clear();
  text_.clear();
  if (!options_.system.empty()) messages_.push_back({"system", options_.system});
}

Result<size_t> ChatSession::run(std::istream& in, std::ostream& out, std::ostream& err) {
  size_t num_unanswered = 0;
  std::string line;
  while (out << options_.prompt << std::flush, std::getline(in, line)) {
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty()) continue;
    if (line == "/quit") break;
    if (line == "/reset") {
      reset();
      out << "The conversation is forgotten.\n";
    } else if (line.starts_with('/')) {
      out << "No such command: " << line << "\n" << kHelp;
    } else if (const auto answered = answer(std::move(line), out); !answered) {
      if (answered.error().code == ErrorCode::kWorkerLost) return fail(answered.error());
      err << "error: " << answered.error().to_string() << "\n";
      ++num_unanswered;
    }
    line.clear();
  }
  return num_unanswered;
}

// A line that can't be answered is as if it had not been said.
Result<void> ChatSession::answer(std::string line, std::ostream& out) {
  const std::vector<ChatMessage> messages_before = messages_;
  const std::string text_before = text_;
  messages_.push_back({"user", line});
  text_ += line;
  auto reply = [&]() -> Result<std::string> {
    return generate(FIB_TRY(fitting_prompt(out)), out);
  }();
  if (!reply) {
    messages_ = messages_before;
    text_ = text_before;
    return fail(std::move(reply).error());
  }
  out << "\n";
  messages_.push_back({"assistant", *reply});
  text_ += *reply;
  return {};
}

Result<std::vector<TokenId>> ChatSession::prompt() const {
  if (continues_text()) return model_.tokenizer.encode(text_, Tokenizer::SpecialTokens::kAsText);
  return model_.tokenizer.encode(FIB_TRY(model_.chat_template.render(messages_)),
                                 Tokenizer::SpecialTokens::kParse);
}

// Forgets the oldest turns, but not the system message, until an answer fits behind the rest.
Result<std::vector<TokenId>> ChatSession::fitting_prompt(std::ostream& out) {
  // Room for a few words at least, or the next turn would forget another one for each token.
  const int room = std::min(options_.sampling.max_tokens, options_.context_length / 4);
  const size_t longest = static_cast<size_t>(std::max(0, options_.context_length - room));
  std::vector<TokenId> tokens = FIB_TRY(prompt());
  if (tokens.size() <= longest) return tokens;
  if (continues_text()) {  // its end is what the model goes on from
    tokens.erase(tokens.begin(), tokens.end() - static_cast<std::ptrdiff_t>(longest));
    text_ = model_.tokenizer.decode(tokens);
  }
  const auto first_turn = [&] { return messages_.begin() + !options_.system.empty(); };
  while (tokens.size() > longest) {
    // A turn is what the user said, with what was answered.
    const auto next =
        std::find_if(first_turn() + 1, messages_.end(),
                     [](const ChatMessage& message) { return message.role == "user"; });
    if (next == messages_.end())
      return fail(
          ErrorCode::kInvalidInput,
          fmt::format("that is {} tokens, and the model reads {} at most", tokens.size(), longest));
    messages_.erase(first_turn(), next);
    tokens = FIB_TRY(prompt());
  }
  out << "(The beginning of the conversation is forgotten: the model's context is full.)\n";
  return tokens;
}

Result<std::string> ChatSession::generate(std::vector<TokenId> prompt, std::ostream& out) {
  constexpr std::chrono::milliseconds kPatience{50};  // between two looks at is_interrupted
  SamplingParams sampling = options_.sampling;
  sampling.seed += num_answers_++;
  sampling.max_tokens =
      std::min(sampling.max_tokens, options_.context_length - static_cast<int>(prompt.size()));
  TextStream decoder(model_.tokenizer);
  StopMatcher matcher(sampling.stop);
  std::string reply;
  const auto show = [&](const std::string& text) {
    out << text << std::flush;
    reply += text;
  };

  if (options_.is_interrupted) options_.is_interrupted();
  const auto mailbox = std::make_shared<Mailbox>();
  const RequestId id = FIB_TRY(model_.engine.submit(
      {.prompt = std::move(prompt), .sampling = std::move(sampling), .listener = mailbox}));
  while (true) {
    const Mailbox::News news = mailbox->wait(kPatience);
    for (const TokenId token : news.tokens)
      if (const std::string text = matcher.push(decoder.push(token)); !text.empty()) show(text);
    if (news.end) {
      if (news.end->error) {
        if (!reply.empty()) out << "\n";
        return fail(*news.end->error);
      }
      if (const std::string rest = matcher.push(decoder.finish()) + matcher.finish(); !rest.empty())
        show(rest);
      return reply;
    }
    if (matcher.has_matched() || (options_.is_interrupted && options_.is_interrupted()))
      model_.engine.cancel(id);
  }
}

}  // namespace fib
