// fib replay: a trace of real traffic, served by a model in process or by any endpoint.
// fib capture: the same, for the workloads that come of it.

#include "integrations/serving/traffic/replay.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <ostream>

#include "integrations/cli/capture_options.h"
#include "integrations/cli/commands.h"
#include "integrations/cli/interrupt.h"
#include "integrations/cli/serving_options.h"
#include "integrations/serving/traffic/endpoint.h"
#include "signatures/base/file.h"
#include "signatures/base/text_file.h"

namespace fib {
namespace {

struct ReplayArgs {
  ServingArgs serving;
  CaptureArgs capture;
  std::string trace, format;
  double rate_scale = 1.0;
  std::optional<double> rate;
  double length_scale = 1.0;
  size_t first_request = 0, num_requests = 0, num_warm_up = 0;
  std::string corpus;
  float temperature = 0.0f;
  uint64_t seed = 1;
  double slo_ttft_ms = 1000.0, slo_tbt_ms = 100.0;
  std::string endpoint, api_key, served_model;
  std::string plot;
};

// "AzureLLMInferenceTrace_conv, rates x 2, lengths x 0.25": what was served, in a few words.
std::string describe(const ReplayArgs& args) {
  std::string text = std::filesystem::path(args.trace).stem().string();
  text += args.rate ? fmt::format(", {:g} requests/s", *args.rate)
                    : fmt::format(", rate x {:g}", args.rate_scale);
  return text + fmt::format(", lengths x {:g}", args.length_scale);
}

Result<std::vector<TokenId>> read_corpus(const ReplayArgs& args,
                                         const std::filesystem::path& model_folder) {
  if (args.corpus.empty()) return std::vector<TokenId>();
  const Tokenizer tokenizer = FIB_TRY(Tokenizer::open(model_folder));
  const std::string text = FIB_TRY(read_text_file(args.corpus));
  auto tokens = FIB_TRY(tokenizer.encode(text, Tokenizer::SpecialTokens::kAsText));
  if (tokens.empty()) return fail(ErrorCode::kInvalidInput, "has no text", args.corpus);
  return tokens;
}

Result<RequestTrace> read_trace(const ReplayArgs& args) {
  return read_request_trace(args.trace, *trace_format_from_name(args.format));
}

Result<Traffic> plan_traffic(const ReplayArgs& args, const RequestTrace& trace,
                             const std::filesystem::path& model_folder, int vocab_size,
                             int max_tokens) {
  return Traffic::plan(trace, {.rate_scale = args.rate_scale,
                               .poisson_rate = args.rate,
                               .length_scale = args.length_scale,
                               .first_request = args.first_request,
                               .num_requests = args.num_requests,
                               .num_warm_up = args.num_warm_up,
                               .max_tokens = max_tokens,
                               .vocab_size = vocab_size,
                               .corpus = FIB_TRY(read_corpus(args, model_folder)),
                               .temperature = args.temperature,
                               .seed = args.seed});
}

ReplayReport run_replay(const Context& context, const ReplayArgs& args, const Traffic& traffic,
                        RequestSink& sink, std::function<EngineCounters()> counters) {
  const InterruptGuard interrupt;
  ProgressLine progress(context.err, context.interactivity);
  return replay(
      traffic, sink,
      {.level = {.ttft_s = args.slo_ttft_ms / 1e3, .tbt_s = args.slo_tbt_ms / 1e3},
       .counters = std::move(counters),
       .is_interrupted = [&] { return interrupt.requested(); },
       .progress =
           [&](size_t sent, size_t ended, size_t total) {
             progress.show(fmt::format("{} of {} requests sent, {} ended", sent, total, ended));
           }});
}

Result<int> print_report(const Context& context, const ReplayArgs& args, const Traffic& traffic,
                         const std::string& model, const ReplayReport& report) {
  const std::string title = fmt::format("{}: {}", model, describe(args));
  if (!args.plot.empty()) FIB_CHECK(write_file_atomically(args.plot, plot_report(report, title)));
  if (context.json()) {
    Json json = {{"model", model},
                 {"trace", std::filesystem::path(args.trace).filename().string()},
                 {"rate_scale", args.rate_scale},
                 {"rate_per_s", args.rate ? Json(*args.rate) : Json()},
                 {"length_scale", args.length_scale},
                 {"requests_cut", traffic.num_cut()}};
    json.update(report_to_json(report));
    print_json(context, json);
  } else {
    context.out << title << "\n" << report_to_text(report);
    if (traffic.num_cut() > 0) {
      context.out << fmt::format("cut          {} of {} requests, longer than the model takes\n",
                                 traffic.num_cut(), traffic.size());
    }
  }
  if (report.unfinished > 0) return kExitInterrupted;
  return report.failed > 0 ? kExitNotPassed : kExitPassed;
}

Result<int> replay_in_process(const Context& context, const ReplayArgs& args) {
  const RequestTrace trace = FIB_TRY(read_trace(args));
  const ServingStack stack = FIB_TRY(open_serving(context, args.serving));
  const ExecutorLimits& limits = stack.executor->limits();
  const Traffic traffic =
      FIB_TRY(plan_traffic(args, trace, stack.folder, limits.vocab_size,
                           std::min(limits.max_positions, limits.num_pages * limits.page_size)));
  ExpertBytes experts(*stack.dispatch);
  const auto capture = FIB_TRY(start_capture(
      *stack.dispatch, args.capture,
      fmt::format("{} on {}, {}", stack.model_id, stack.device->info().target, describe(args))));
  EngineConfig config = stack.engine_config;
  config.max_queued = std::max(config.max_queued, traffic.size());  // late is not refused
  const auto engine = FIB_TRY(Engine::start(*stack.executor, std::move(config)));
  EngineSink sink(*engine);
  const ReplayReport report = run_replay(context, args, traffic, sink, [&]() -> EngineCounters {
    return {engine->stats(), experts.read()};
  });
  const int code = FIB_TRY(print_report(context, args, traffic, stack.model_id, report));
  context.out.flush();
  if (capture) FIB_CHECK(finish_capture(context, *capture, args.capture));
  return code;
}

Result<int> replay_to_endpoint(const Context& context, const ReplayArgs& args) {
  if (!args.capture.folder.empty()) {
    return fail(ErrorCode::kInvalidInput, "an endpoint's kernels can't be seen", "--capture",
                "leave out --endpoint, or give --capture to the fib serve that is asked");
  }
  const std::filesystem::path folder = FIB_TRY(find_model(context, args.serving.model));
  const ModelConfig config = FIB_TRY(read_model_config(folder));
  const int longest =
      args.serving.max_model_len > 0 ? args.serving.max_model_len : config.max_positions;
  const Traffic traffic =
      FIB_TRY(plan_traffic(args, FIB_TRY(read_trace(args)), folder, config.vocab_size, longest));
  const auto sink =
      FIB_TRY(EndpointSink::open({.address = FIB_TRY(EndpointAddress::parse(args.endpoint)),
                                  .api_key = args.api_key,
                                  .model = args.served_model}));
  const ReplayReport report = run_replay(context, args, traffic, *sink, {});
  return print_report(context, args, traffic, sink->model(), report);
}

Result<int> run(const Context& context, const ReplayArgs& args) {
  return args.endpoint.empty() ? replay_in_process(context, args)
                               : replay_to_endpoint(context, args);
}

void add_traffic_options(CLI::App& command, ReplayArgs& args) {
  command.add_option("--trace", args.trace, "The requests (.gz too)")
      ->required()
      ->check(CLI::ExistingFile)
      ->type_name("FILE");
  command.add_option("--format", args.format, "Of the trace; vidur: lengths only")
      ->required()
      ->check(CLI::IsMember({"mooncake", "azure", "vidur"}));
  command.add_option("--rate-scale", args.rate_scale, "2: arrivals twice as fast as in the trace")
      ->capture_default_str();
  command
      .add_option("--rate", args.rate, "Requests a second, drawn (Poisson) in place of the trace's")
      ->excludes("--rate-scale");
  command
      .add_option("--scale-lengths", args.length_scale,
                  "Of prompts, answers and shared prefixes; 0.25: a quarter as long")
      ->capture_default_str();
  command.add_option("--first", args.first_request, "Requests of the trace to skip")
      ->capture_default_str();
  command.add_option("--requests", args.num_requests, "How many to send; default: all");
  command.add_option("--warm-up", args.num_warm_up, "Of these the first, which no figure counts")
      ->capture_default_str();
  command
      .add_option("--corpus", args.corpus,
                  "Text that prompts are pieces of; default: random tokens")
      ->check(CLI::ExistingFile)
      ->type_name("FILE");
  command.add_option("--temperature", args.temperature, "Of the sampling")
      ->check(CLI::Range(0.0, 2.0))
      ->capture_default_str();
  command.add_option("--seed", args.seed, "Of prompts, arrivals and sampling")
      ->capture_default_str();
}

void add_report_options(CLI::App& command, ReplayArgs& args) {
  command.add_option("--slo-ttft", args.slo_ttft_ms, "A good request's first token comes within")
      ->type_name("MS")
      ->capture_default_str();
  command
      .add_option("--slo-tbt", args.slo_tbt_ms, "and 99 % of its gaps between tokens are within")
      ->type_name("MS")
      ->capture_default_str();
  command.add_option("--plot", args.plot, "An SVG with the distributions of TTFT and TBT")
      ->type_name("FILE");
}

}  // namespace

void add_replay_command(CLI::App& app, Action& action) {
  auto args = std::make_shared<ReplayArgs>();
  CLI::App* command = app.add_subcommand("replay", "Serve a trace of real traffic and measure");
  add_serving_options(*command, args->serving);
  add_traffic_options(*command, *args);
  add_report_options(*command, *args);
  add_capture_options(*command, args->capture);
  command
      ->add_option("--endpoint", args->endpoint,
                   "Asks this OpenAI-compatible server; the model gives vocabulary and limits")
      ->type_name("URL");
  command->add_option("--api-key", args->api_key, "For the endpoint")->type_name("KEY");
  command
      ->add_option("--served-model-name", args->served_model,
                   "What the endpoint calls its model; default: the first that it lists")
      ->type_name("NAME");
  command->footer(
      "Examples:\n"
      "  fib replay --trace AzureLLMInferenceTrace_conv.csv --format azure --scale-lengths 0.1 "
      "--requests 200\n"
      "  fib replay --trace conversation_trace.jsonl --format mooncake --endpoint "
      "http://localhost:8000\n"
      "  fib replay --trace arxiv.csv --format vidur --rate 2 --prefill layered --plot "
      "report.svg\n");
  command->callback(
      [args, &action] { action = [args](const Context& context) { return run(context, *args); }; });
}

void add_capture_command(CLI::App& app, Action& action) {
  auto args = std::make_shared<ReplayArgs>();
  CLI::App* command =
      app.add_subcommand("capture", "Serve a trace and record its kernels' calls as workloads");
  add_serving_options(*command, args->serving);
  add_traffic_options(*command, *args);
  add_report_options(*command, *args);
  add_capture_options(*command, args->capture);
  command->get_option("--capture")->required();
  command->footer(
      "The same as fib replay, whose --capture can be left out.\n"
      "Example:\n"
      "  fib capture --trace AzureLLMInferenceTrace_code.csv --format azure --scale-lengths 0.1 "
      "--requests 200 --capture traffic\n"
      "  fib submit my-attention --workloads traffic\n");
  command->callback(
      [args, &action] { action = [args](const Context& context) { return run(context, *args); }; });
}

}  // namespace fib
