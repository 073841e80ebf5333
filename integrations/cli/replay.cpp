// fib replay: a trace of real traffic, served by a model in process or by any endpoint.
// fib capture: the same, for the workloads that come of it.

#include "integrations/serving/traffic/replay.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <ostream>

#include "integrations/cli/capture_options.h"
#include "integrations/cli/commands.h"
#include "integrations/cli/interrupt.h"
#include "integrations/cli/number_checks.h"
#include "integrations/cli/serving_options.h"
#include "integrations/cli/traffic_options.h"
#include "integrations/serving/traffic/endpoint.h"
#include "signatures/base/file.h"

namespace fib {
namespace {

// Of a card's steps that are captured, one in so many is timed: enough for shares in a minute of
// traffic. A step that is timed takes some milliseconds longer, which is much beside a decode step
// and little beside one with prefill. Primes, as a cohort's 16 steps should all be met.
constexpr int kCaptureProfileEvery = 61;
constexpr int kCaptureProfilePrefillEvery = 17;

struct ReplayArgs {
  ServingArgs serving;
  CaptureArgs capture;
  TrafficArgs traffic;
  double slo_ttft_ms = 1000.0, slo_tbt_ms = 100.0;
  std::string endpoint, api_key, served_model;
  std::string plot;
};

Result<Traffic> plan_traffic(const ReplayArgs& args, const RequestTrace& trace,
                             const std::filesystem::path& model_folder, int vocab_size,
                             int max_tokens) {
  return Traffic::plan(
      trace, FIB_TRY(traffic_options(args.traffic, model_folder, vocab_size, max_tokens)));
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

// How the requests were served, as far as it is known here.
Json describe_serving(const ServingArgs& args, const ServingStack& stack) {
  const ServingDeviceInfo& device = stack.device->info();
  const ExecutorLimits& limits = stack.executor->limits();
  const EngineConfig& config = stack.engine_config;
  const bool is_layered = config.prefill == PrefillPolicy::kLayered && limits.is_moe;
  return {{"target", device.target},
          {"device", device.name},
          {"threads", device.threads > 0 ? Json(device.threads) : Json()},
          {"kernels", args.kernels.empty() ? "default" : args.kernels},
          {"load_format", args.load_format},
          {"prefill", is_layered ? "layered" : "chunked"},
          {is_layered ? "cohort_tokens" : "chunk_tokens",
           is_layered ? config.cohort_tokens : config.chunk_tokens},
          {"max_batch", config.max_decode_rows},
          {"max_model_len", limits.max_positions},
          {"kv_cache_tokens", int64_t{limits.num_pages} * limits.page_size},
          {"has_prefix_cache", config.has_prefix_cache},
          {"has_graphs", device.target == "cuda" && !args.has_no_graphs}};
}

Result<int> print_report(const Context& context, const ReplayArgs& args, const Traffic& traffic,
                         const std::string& model, const ReplayReport& report,
                         const Json& serving) {
  const std::string title = fmt::format("{}: {}", model, describe(args.traffic));
  if (!args.plot.empty()) FIB_CHECK(write_file_atomically(args.plot, plot_report(report, title)));
  if (context.json()) {
    Json json = {{"model", model},
                 {"trace", std::filesystem::path(args.traffic.trace).filename().string()},
                 {"rate_scale", args.traffic.rate_scale},
                 {"rate_per_s", args.traffic.rate ? Json(*args.traffic.rate) : Json()},
                 {"length_scale", args.traffic.length_scale},
                 {"first_request", args.traffic.first_request},
                 {"corpus", args.traffic.corpus.empty()
                                ? Json()
                                : Json(std::filesystem::path(args.traffic.corpus)
                                           .filename()
                                           .string())},
                 {"temperature", args.traffic.temperature},
                 {"seed", args.traffic.seed},
                 {"endpoint", args.endpoint.empty() ? Json() : Json(args.endpoint)},
                 {"serving", serving},
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
  const RequestTrace trace = FIB_TRY(read_trace(args.traffic));
  ServingArgs serving = args.serving;
  if (!args.capture.folder.empty() && serving.target != "cpu") {
    serving.profile_every = kCaptureProfileEvery;
    serving.profile_prefill_every = kCaptureProfilePrefillEvery;
  }
  const ServingStack stack = FIB_TRY(open_serving(context, serving));
  const ExecutorLimits& limits = stack.executor->limits();
  const Traffic traffic =
      FIB_TRY(plan_traffic(args, trace, stack.folder, limits.vocab_size,
                           std::min(limits.max_positions, limits.num_pages * limits.page_size)));
  ExpertBytes experts(*stack.dispatch);
  const auto capture =
      FIB_TRY(start_capture(*stack.dispatch, args.capture,
                            fmt::format("{} on {}, {}", stack.model_id, stack.device->info().target,
                                        describe(args.traffic))));
  EngineConfig config = stack.engine_config;
  config.max_queued = std::max(config.max_queued, traffic.size());  // late is not refused
  const auto engine = FIB_TRY(Engine::start(*stack.executor, std::move(config)));
  EngineSink sink(*engine);
  const ReplayReport report = run_replay(context, args, traffic, sink, [&]() -> EngineCounters {
    return {engine->stats(), experts.read()};
  });
  const int code = FIB_TRY(print_report(context, args, traffic, stack.model_id, report,
                                        describe_serving(args.serving, stack)));
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
  const Traffic traffic = FIB_TRY(
      plan_traffic(args, FIB_TRY(read_trace(args.traffic)), folder, config.vocab_size, longest));
  const auto sink =
      FIB_TRY(EndpointSink::open({.address = FIB_TRY(EndpointAddress::parse(args.endpoint)),
                                  .api_key = args.api_key,
                                  .model = args.served_model}));
  const ReplayReport report = run_replay(context, args, traffic, *sink, {});
  return print_report(context, args, traffic, sink->model(), report, {});
}

Result<int> run(const Context& context, const ReplayArgs& args) {
  return args.endpoint.empty() ? replay_in_process(context, args)
                               : replay_to_endpoint(context, args);
}

void add_replay_traffic_options(CLI::App& command, TrafficArgs& args) {
  add_traffic_options(command, args);
  command.add_option("--requests", args.num_requests, "How many to send; default: all")
      ->check(CLI::PositiveNumber);
  command.add_option("--warm-up", args.num_warm_up, "Of these the first, which no figure counts")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
}

void add_report_options(CLI::App& command, ReplayArgs& args) {
  command.add_option("--slo-ttft", args.slo_ttft_ms, "A good request's first token comes within")
      ->type_name("MS")
      ->check(number_above(0.0))
      ->capture_default_str();
  command
      .add_option("--slo-tbt", args.slo_tbt_ms, "and 99 % of its gaps between tokens are within")
      ->type_name("MS")
      ->check(number_above(0.0))
      ->capture_default_str();
  command.add_option("--plot", args.plot, "An SVG with the distributions of TTFT and TBT")
      ->type_name("FILE");
}

}  // namespace

void add_replay_command(CLI::App& app, Action& action) {
  auto args = std::make_shared<ReplayArgs>();
  CLI::App* command = app.add_subcommand("replay", "Serve a trace of real traffic and measure");
  add_serving_options(*command, args->serving);
  add_replay_traffic_options(*command, args->traffic);
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
  add_replay_traffic_options(*command, args->traffic);
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
