#include "agents/proposers/llm.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "agents/proposers/llm/answer.h"
#include "agents/proposers/llm/briefing.h"
#include "agents/proposers/llm/chat.h"
#include "agents/proposers/llm/prompt.h"
#include "signatures/solution_folder.h"

namespace fib::agents {

namespace {

// A parent beyond this would fill a context window, and an answer even more so.
constexpr size_t kLargestParentBytes = 200'000;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string usage_in_words(const TokenUsage& usage, double money) {
  return fmt::format("{} prompt tokens, {} answer tokens, price {:.6g}{}", usage.prompt_tokens,
                     usage.answer_tokens, money,
                     usage.source == TokenUsage::Source::kEstimated
                         ? " (estimated: the endpoint doesn't say)"
                         : "");
}

std::string complaint_of(const Error& error, const ChatAnswer& answer) {
  std::string complaint = error.to_string();
  if (answer.is_cut_off) {
    complaint +=
        "\n\nIt was cut off at the limit of tokens: be brief, and patch rather than rewrite.";
  }
  if (!answer.declined.empty()) complaint += "\n\nYou declined: " + answer.declined;
  return complaint;
}

// One request's conversation, as it grows.
class Conversation {
 public:
  Conversation(ChatClient& client, const TokenPrices& prices, const ProposalRequest& request)
      : client_(client), prices_(prices), request_(request) {}

  void say(std::string role, std::string content) {
    messages_.push_back({std::move(role), std::move(content)});
    outcome.exchanges.push_back(messages_.back());
  }

  // Nothing where there is no answer: the outcome has the refusal then.
  Result<std::optional<ChatAnswer>> listen() {
    ChatOutcome said = FIB_TRY(client_.ask(messages_, request_.seed, request_.cancelled));
    for (std::string& trouble : said.troubles) {
      outcome.exchanges.push_back({"error", std::move(trouble)});
    }
    if (said.refusal) {
      outcome.refusal = std::move(said.refusal);
      return std::optional<ChatAnswer>();
    }
    const TokenUsage& usage = said.answer->usage;
    const double money = price_of(usage, prices_);
    outcome.cost.prompt_tokens += usage.prompt_tokens;
    outcome.cost.answer_tokens += usage.answer_tokens;
    outcome.cost.money += money;
    say("assistant", said.answer->text);
    outcome.exchanges.push_back({"usage", usage_in_words(usage, money)});
    return std::move(said.answer);
  }

  ProposalOutcome outcome;

 private:
  ChatClient& client_;
  const TokenPrices& prices_;
  const ProposalRequest& request_;
  std::vector<Exchange> messages_;
};

class LlmProposer : public Proposer {
 public:
  LlmProposer(LlmOptions options, Prompts prompts, std::unique_ptr<ChatClient> client)
      : options_(std::move(options)), prompts_(std::move(prompts)), client_(std::move(client)) {}

  std::string_view name() const override { return "llm"; }

  bool suits(const Solution& parent) const override {
    size_t bytes = 0;
    for (const SourceFile& source : parent.sources) bytes += source.content.size();
    return bytes <= kLargestParentBytes && manifest_of(parent).has_value();
  }

  Result<ProposalOutcome> propose(const ProposalRequest& request) override {
    const auto start = std::chrono::steady_clock::now();
    Conversation talk(*client_, options_.prices, request);
    const bool is_cpu = request.target == "cpu";
    talk.say("system", prompts_.system.render({{"target_rules", is_cpu ? prompts_.target_cpu
                                                                       : prompts_.target_cuda}}));
    talk.say("user", prompts_.propose.render(briefing(request, options_.abi, prompts_.directions,
                                                      {.others_bytes = options_.others_bytes})));
    FIB_CHECK(converse(talk, request));
    talk.outcome.cost.seconds = seconds_since(start);
    return std::move(talk.outcome);
  }

 private:
  // Asks, and once more with the complaint where the answer can't be taken.
  Result<void> converse(Conversation& talk, const ProposalRequest& request) const {
    const Solution& parent = request.parent.solution;
    const std::vector<SourceFile> files = editable_files(parent);
    for (const bool is_repair : {false, true}) {
      const std::optional<ChatAnswer> said = FIB_TRY(talk.listen());
      if (!said) return {};
      auto answer = parse_answer(without_thoughts(said->text), files);
      auto child =
          answer ? with_files(parent, answer->files) : Result<Solution>(fail(answer.error()));
      if (child) {
        talk.outcome.note = answer->note;
        take(*std::move(child), request, talk.outcome);
        return {};
      }
      const std::string complaint = complaint_of(child.error(), *said);
      if (is_repair) {
        const bool is_path = child.error().code == ErrorCode::kUnsupported;
        talk.outcome.refusal = Refusal{is_path ? "path" : "malformed", complaint};
        return {};
      }
      talk.say("user", prompts_.repair.render({{"complaint", complaint}}));
    }
    return {};
  }

  static void take(Solution child, const ProposalRequest& request, ProposalOutcome& outcome) {
    const std::string key = solution_key(child);
    if (key == solution_key(request.parent.solution)) {
      outcome.refusal = Refusal{"unchanged", "the answer leaves the parent as it was"};
      return;
    }
    const auto& history = *request.history;
    const auto same = std::find_if(history.begin(), history.end(),
                                   [&](const auto& record) { return record.solution_key == key; });
    if (same != history.end()) {
      outcome.refusal =
          Refusal{"tried-before", fmt::format("the answer is candidate {} again", same->number)};
      return;
    }
    outcome.solution = std::move(child);
  }

  LlmOptions options_;
  Prompts prompts_;
  std::unique_ptr<ChatClient> client_;
};

}  // namespace

Result<std::unique_ptr<Proposer>> make_llm_proposer(LlmOptions options) {
  Prompts prompts = FIB_TRY(read_prompts(options.prompts));
  auto client = FIB_TRY(ChatClient::open(options));
  return std::unique_ptr<Proposer>(
      std::make_unique<LlmProposer>(std::move(options), std::move(prompts), std::move(client)));
}

}  // namespace fib::agents
