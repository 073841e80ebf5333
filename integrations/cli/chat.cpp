// fib chat: a conversation with a model in the terminal.

#include <CLI/CLI.hpp>
#include <iostream>
#include <random>

#include "integrations/cli/commands.h"
#include "integrations/cli/interrupt.h"
#include "integrations/cli/number_checks.h"
#include "integrations/cli/serving_options.h"
#include "integrations/serving/chat/chat_session.h"

namespace fib {
namespace {

struct ChatArgs {
  ServingArgs serving;
  std::string system;
  int max_tokens = 200;
  std::optional<float> temperature, top_p;
  std::optional<int> top_k;
  std::optional<uint64_t> seed;
};

Result<int> chat(const Context& context, const ChatArgs& args) {
  if (context.json()) {
    return fail(ErrorCode::kInvalidInput, "a conversation is text", "--json",
                "ask fib serve, whose answers are JSON");
  }
  const ServingStack stack = FIB_TRY(open_serving(context, args.serving));
  const Tokenizer tokenizer = FIB_TRY(Tokenizer::open(stack.folder));
  const ChatTemplate chat_template = FIB_TRY(ChatTemplate::open(stack.folder));
  const auto engine = FIB_TRY(Engine::start(*stack.executor, stack.engine_config));
  const ModelConfig& config = stack.executor->config();
  const ExecutorLimits& limits = stack.executor->limits();
  ChatOptions options{.context_length =
                          std::min(limits.max_positions, limits.num_pages * limits.page_size),
                      .system = args.system};
  options.sampling.max_tokens = args.max_tokens;
  options.sampling.temperature = args.temperature.value_or(config.sampling.temperature);
  options.sampling.top_p = args.top_p.value_or(config.sampling.top_p);
  options.sampling.top_k = args.top_k.value_or(config.sampling.top_k);
  options.sampling.seed = args.seed.value_or(std::random_device{}());
  if (context.interactivity == Interactivity::kPipe) options.prompt.clear();
  InterruptGuard interrupt;
  options.is_interrupted = [&] { return interrupt.take(); };
  ChatSession session({*engine, tokenizer, chat_template}, options);
  const size_t unanswered = FIB_TRY(session.run(std::cin, context.out, context.err));
  // Who sits before a terminal has seen it, and gone on.
  const bool is_piped = context.interactivity == Interactivity::kPipe;
  return is_piped && unanswered > 0 ? kExitNotPassed : kExitPassed;
}

}  // namespace

void add_chat_command(CLI::App& app, Action& action) {
  auto args = std::make_shared<ChatArgs>();
  CLI::App* command = app.add_subcommand("chat", "Talk with a model in the terminal");
  add_serving_options(*command, args->serving);
  command->add_option("--system", args->system, "The system message")->type_name("TEXT");
  command->add_option("--max-tokens", args->max_tokens, "Of one answer")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      ->add_option("--temperature", args->temperature,
                   "Up to 2; 0: always the likeliest token; default: the model's")
      ->check(number_from(0.0, 2.0));
  command->add_option("--top-p", args->top_p, "Default: the model's")
      ->check(number_above(0.0, 1.0));
  command->add_option("--top-k", args->top_k, "0: all; default: the model's")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--seed", args->seed, "Repeats a conversation")
      ->check(CLI::NonNegativeNumber);
  command->footer(
      "A line is a message; /reset forgets, /quit ends. A base model goes on with your text.\n"
      "From a pipe the exit code is 1 if a line got no answer.\n"
      "Examples:\n"
      "  fib chat\n"
      "  echo 'It was a dark night, and' | fib chat --max-tokens 60 --seed 1\n");
  command->callback([args, &action] {
    action = [args](const Context& context) { return chat(context, *args); };
  });
}

}  // namespace fib
