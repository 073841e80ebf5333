// fib serve: a model behind an OpenAI-compatible HTTP server.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <ostream>
#include <random>
#include <thread>

#include "integrations/cli/capture_options.h"
#include "integrations/cli/commands.h"
#include "integrations/cli/failure_log.h"
#include "integrations/cli/interrupt.h"
#include "integrations/cli/serving_options.h"
#include "integrations/cli/units.h"
#include "integrations/package/call_times.h"
#include "integrations/package/package_swap.h"
#include "integrations/serving/http/server.h"
#include "signatures/base/text_file.h"

namespace fib {
namespace {

constexpr auto kSignalPatience = std::chrono::milliseconds(50);
constexpr int kProfileEvery = 61;                           // a prime: see ExecutorOptions
constexpr auto kCaptureInterval = std::chrono::minutes(1);  // what a crash can lose

struct ServeArgs {
  ServingArgs serving;
  CaptureArgs capture;
  std::string host = "127.0.0.1";
  uint16_t port = 8000;
  int http_threads = 2;
  std::string api_key, api_key_file, model_name;
  size_t max_queued = 1024;
};

GenerationDefaults defaults_of(const ModelExecutor& executor, size_t max_queued) {
  const ModelConfig& config = executor.config();
  const ExecutorLimits& limits = executor.limits();
  return {.temperature = config.sampling.temperature,
          .top_p = config.sampling.top_p,
          .top_k = config.sampling.top_k,
          .vocab_size = config.vocab_size,
          .context_length = std::min(limits.max_positions, limits.num_pages * limits.page_size),
          .max_queued = max_queued};
}

// Empty: none is asked for. A file keeps it out of the process list.
Result<std::string> read_api_key(const ServeArgs& args) {
  if (args.api_key_file.empty()) return args.api_key;
  std::string key = FIB_TRY(read_text_file(args.api_key_file));
  while (key.ends_with('\n') || key.ends_with('\r')) key.pop_back();
  if (key.empty() || key.find_first_of(" \t\r\n") != std::string::npos) {
    return fail(ErrorCode::kInvalidInput, "is not one line with a key", args.api_key_file);
  }
  return key;
}

void announce(const Context& context, const ServingStack& stack, const Server& server) {
  const ModelMemory memory = stack.executor->memory();
  const ServingDeviceInfo& device = stack.device->info();
  const ExecutorLimits& limits = stack.executor->limits();
  const int64_t tokens = int64_t{limits.num_pages} * limits.page_size;
  const std::string url = fmt::format("http://{}:{}", server.host(), server.port());
  if (context.json()) {
    print_json_line(context, {{"url", url},
                              {"model", stack.model_id},
                              {"target", device.target},
                              {"device", device.name},
                              {"weight_bytes", memory.weights},
                              {"prepared_bytes", memory.prepared},
                              {"kv_cache_bytes", memory.kv_cache},
                              {"kv_cache_tokens", tokens}});
    return;
  }
  context.out << fmt::format(
      "{} on {}: weights {}, keys and values {} ({} tokens)\nlistening on {}/v1\n", stack.model_id,
      device.name, format_bytes(static_cast<double>(memory.weights)),
      format_bytes(static_cast<double>(memory.kv_cache)), tokens, url);
  context.out.flush();
}

// Says on stderr, once, when the engine gets into trouble that /health tells of, and out of it.
class HealthLog {
 public:
  HealthLog(const Context& context, const Engine& engine) : context_(context), engine_(engine) {}

  void look() {
    const EngineStats now = engine_.stats();
    if (now.is_step_overdue != was_overdue_ && !now.is_device_lost) {
      context_.err << (now.is_step_overdue
                           ? "a step takes longer than --step-timeout: a kernel hangs, or is slow\n"
                           : "the step that took so long has ended\n");
    }
    if (now.is_device_lost && !was_lost_) {
      context_.err << fmt::format("the device is lost: {}\n", now.device_error);
    }
    was_overdue_ = now.is_step_overdue;
    was_lost_ = now.is_device_lost;
  }
  bool is_device_lost() const { return was_lost_; }

 private:
  const Context& context_;
  const Engine& engine_;
  bool was_overdue_ = false, was_lost_ = false;
};

// Says on stderr where an exchange of kernels stands, whenever it stands elsewhere.
class SwapLog {
 public:
  SwapLog(const Context& context, const SwappableDispatch& dispatch)
      : context_(context), dispatch_(dispatch) {}

  void look() {
    const SwapStatus now = dispatch_.status();
    const std::string text = describe(now);
    if (text != last_ && !(last_.empty() && now.state == SwapState::kServing)) {
      context_.err << "kernels: " << text << "\n";
    }
    last_ = text;
  }

 private:
  static std::string describe(const SwapStatus& status) {
    const std::string reason = status.reason.empty() ? "" : ": " + status.reason;
    const bool has_candidate = !status.candidate.empty();
    return fmt::format("{} {}{}", swap_state_name(status.state),
                       has_candidate ? status.candidate : status.package, reason);
  }

  const Context& context_;
  const SwappableDispatch& dispatch_;
  std::string last_;
};

// A template that isn't known is no reason not to serve completions.
Result<void> check_chats(const Context& context, const Result<ChatTemplate>& chat_template) {
  if (chat_template) return {};
  const Error& error = chat_template.error();
  if (error.code != ErrorCode::kUnsupported) return fail(error);
  context.err << fmt::format("completions only, chats are refused: {}\n", error.to_string());
  return {};
}

Result<int> serve(const Context& context, const ServeArgs& args) {
  const std::string api_key = FIB_TRY(read_api_key(args));
  const ServingStack stack = FIB_TRY(open_serving(context, args.serving));
  const Tokenizer tokenizer = FIB_TRY(Tokenizer::open(stack.folder));
  const Result<ChatTemplate> chat_template = ChatTemplate::open(stack.folder);
  FIB_CHECK(check_chats(context, chat_template));
  CallTimes times(*stack.dispatch);
  const auto capture = FIB_TRY(start_capture(
      *stack.dispatch, args.capture,
      fmt::format("{} on {}, fib serve", stack.model_id, stack.device->info().target)));
  EngineConfig config = stack.engine_config;
  config.max_queued = args.max_queued;
  const auto engine = FIB_TRY(Engine::start(*stack.executor, std::move(config)));
  SwappableDispatch& dispatch = *stack.dispatch;
  PackageSwap swap(dispatch, {.house = house_dispatch_options(context),
                              .unpack_folder = unpack_folder(context),
                              .wake = [&engine] { engine->wake(); }});
  FailureLog failures(context.err);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto server = FIB_TRY(Server::start(
      {.host = args.host,
       .port = args.port,
       .threads = args.http_threads,
       .api_key = api_key,
       .model_id = args.model_name.empty() ? stack.model_id : args.model_name,
       .created_s = std::chrono::duration_cast<std::chrono::seconds>(now).count(),
       .seed = std::random_device{}()},
      {.engine = *engine,
       .tokenizer = tokenizer,
       .chat_template = chat_template,
       .defaults = defaults_of(*stack.executor, args.max_queued),
       .signature_times =
           [&times] {
             std::vector<SignatureTime> all;
             for (const CallTime& time : times.read()) {
               all.push_back({.signature = time.signature,
                              .solution = time.solution,
                              .calls = time.calls,
                              .host_s = time.host_s,
                              .sampled_calls = time.sampled_calls,
                              .device_s = time.device_s});
             }
             return all;
           },
       .kernels = {.status = [&dispatch] { return dispatch.status(); },
                   .begin_swap = [&swap](const std::string& path) { return swap.begin(path); }},
       .on_failure = [&failures](const Error& error) { failures.note(error); }}));
  const InterruptGuard interrupt;
  announce(context, stack, *server);
  HealthLog health(context, *engine);
  SwapLog swaps(context, dispatch);
  auto next_write = std::chrono::steady_clock::now() + kCaptureInterval;
  while (!interrupt.requested()) {
    std::this_thread::sleep_for(kSignalPatience);
    health.look();
    swaps.look();
    failures.look(std::chrono::steady_clock::now());
    if (!capture || std::chrono::steady_clock::now() < next_write) continue;
    // A full disk is no reason to stop serving.
    if (const auto written = capture->write(); !written) {
      context.err << "capture: " << written.error().to_string() << "\n";
    }
    next_write = std::chrono::steady_clock::now() + kCaptureInterval;
  }
  context.err << "draining; a second signal ends it at once\n";
  server->drain();
  engine->drain();
  failures.finish();
  if (capture) FIB_CHECK(finish_capture(context, *capture, args.capture));
  health.look();
  return health.is_device_lost() ? kExitEnvironment : kExitPassed;
}

}  // namespace

void add_serve_command(CLI::App& app, Action& action) {
  auto args = std::make_shared<ServeArgs>();
  CLI::App* command = app.add_subcommand("serve", "Serve a model over OpenAI-compatible HTTP");
  add_serving_options(*command, args->serving);
  add_capture_options(*command, args->capture);
  args->serving.profile_every = kProfileEvery;
  command
      ->add_option("--profile-every", args->serving.profile_every,
                   "Of so many steps one is timed on the device, for /metrics; 0: none")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command->add_option("--host", args->host, "Address to listen on")->capture_default_str();
  command->add_option("--port", args->port, "0: any that is free")->capture_default_str();
  command->add_option("--api-key", args->api_key, "Clients must send it as their bearer token")
      ->type_name("KEY")
      ->check(CLI::Validator(
          [](const std::string& key) { return key.empty() ? "an empty key is none" : ""; }, ""));
  command->add_option("--api-key-file", args->api_key_file, "The same, from a file's one line")
      ->type_name("FILE")
      ->check(CLI::ExistingFile)
      ->excludes("--api-key");
  command->add_option("--served-model-name", args->model_name, "What clients call the model")
      ->type_name("NAME");
  command->add_option("--max-queued", args->max_queued, "Waiting requests; more get 429")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--http-threads", args->http_threads, "Threads for connections")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command->footer(
      "Serves /v1/completions, /v1/chat/completions, /v1/models, /health, /metrics and "
      "/fib/kernels.\n"
      "SIGTERM or Ctrl-C: refuses new requests, finishes those under way, ends.\n"
      "What --capture records is written once a minute and at the end.\n"
      "Examples:\n"
      "  fib serve\n"
      "  fib serve ~/models/Qwen3-30B-A3B --target cuda --prefill layered --port 8080\n"
      "  curl localhost:8000/fib/kernels --json '{\"package\": \"/srv/kernels\"}'\n"
      "  curl localhost:8000/v1/completions --json '{\"model\": \"fib-tiny-moe\", "
      "\"prompt\": \"Once\"}'\n");
  command->callback([args, &action] {
    action = [args](const Context& context) { return serve(context, *args); };
  });
}

}  // namespace fib
