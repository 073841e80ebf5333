// fib ab: two sets of kernels under the same traffic, block by block.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>
#include <ostream>

#include "integrations/cli/commands.h"
#include "integrations/cli/interrupt.h"
#include "integrations/cli/serving_options.h"
#include "integrations/cli/traffic_options.h"
#include "integrations/package/call_times.h"
#include "integrations/serving/traffic/ab_replay.h"

namespace fib {
namespace {

constexpr std::string_view kDefaultKernels = "default";

struct AbArgs {
  ServingArgs serving;
  TrafficArgs traffic;
  std::vector<std::string> kernels;  // two
  size_t pairs = 6;
  size_t block_requests = 32;
};

// A model that runs on one of the two, warm.
struct Contender {
  std::string name;
  ServingStack stack;
  PromisedSpeedups promised;
  std::unique_ptr<CallTimes> times;
  std::unique_ptr<Engine> engine;
};

Result<Contender> open_contender(const Context& context, const AbArgs& args,
                                 const std::string& kernels) {
  ServingArgs serving = args.serving;
  serving.kernels = kernels == kDefaultKernels ? "" : kernels;
  Contender contender{.name = kernels, .stack = FIB_TRY(open_serving(context, serving))};
  if (const PackageLibraryPtr& package = contender.stack.package) {
    contender.promised =
        FIB_TRY(promised_speedups(package->manifest(), contender.stack.device->info().hardware));
  }
  contender.times = std::make_unique<CallTimes>(*contender.stack.dispatch);
  EngineConfig config = contender.stack.engine_config;
  config.max_queued = std::max(config.max_queued, args.block_requests);  // late is not refused
  contender.engine = FIB_TRY(Engine::start(*contender.stack.executor, std::move(config)));
  return contender;
}

// The requests of a block: the next ones of the trace, and other prompts than any block before.
Result<Traffic> plan_block(const AbArgs& args, const RequestTrace& trace,
                           const Contender& contender, size_t block) {
  const ExecutorLimits& limits = contender.stack.executor->limits();
  TrafficArgs traffic = args.traffic;
  traffic.first_request += block * args.block_requests;
  traffic.num_requests = args.block_requests;
  traffic.seed += block;
  return Traffic::plan(trace,
                       FIB_TRY(traffic_options(
                           traffic, contender.stack.folder, limits.vocab_size,
                           std::min(limits.max_positions, limits.num_pages * limits.page_size))));
}

Result<void> check(const AbArgs& args, const RequestTrace& trace) {
  const size_t wanted = args.traffic.first_request + (args.pairs + 1) * args.block_requests;
  if (wanted <= trace.requests.size()) return {};
  return fail(ErrorCode::kInvalidInput,
              fmt::format("has {} requests; {} pairs of {} and as many to warm up need {}",
                          trace.requests.size(), args.pairs, args.block_requests, wanted),
              args.traffic.trace, "give fewer --pairs or --block");
}

Result<int> ab(const Context& context, const AbArgs& args) {
  const RequestTrace trace = FIB_TRY(read_trace(args.traffic));
  FIB_CHECK(check(args, trace));
  std::array<Contender, 2> contenders;
  for (size_t i = 0; i < 2; ++i) {
    contenders[i] = FIB_TRY(open_contender(context, args, args.kernels[i]));
  }
  const InterruptGuard interrupt;
  ProgressLine progress(context.err, context.interactivity);
  const auto serve = [&](size_t side, const Traffic& traffic, std::string_view block) {
    return run_ab_side(traffic, *contenders[side].engine,
                       {.is_interrupted = [&] { return interrupt.requested(); },
                        .progress =
                            [&](size_t, size_t ended, size_t total) {
                              progress.show(fmt::format("{}, {}: {} of {} requests", block,
                                                        side == 0 ? "A" : "B", ended, total));
                            }});
  };

  // Both warm up on a block that nothing counts; then the side that goes first alternates.
  const Traffic warm_up = FIB_TRY(plan_block(args, trace, contenders[0], 0));
  for (const size_t side : {0, 1}) serve(side, warm_up, "warming up");
  std::vector<AbPair> pairs;
  for (size_t i = 0; i < args.pairs && !interrupt.requested(); ++i) {
    const Traffic traffic = FIB_TRY(plan_block(args, trace, contenders[0], i + 1));
    const std::string block = fmt::format("pair {} of {}", i + 1, args.pairs);
    AbPair& pair = pairs.emplace_back();
    for (const size_t side : {i % 2, 1 - i % 2}) {
      (side == 0 ? pair.a : pair.b) = serve(side, traffic, block);
    }
  }
  progress.clear();

  AbReport report = compare_pairs(pairs);
  report.name_a = contenders[0].name;
  report.name_b = contenders[1].name;
  report.kernels_a = contenders[0].times->read();
  report.kernels_b = contenders[1].times->read();
  report.gains = kernel_gains(report.kernels_a, report.kernels_b, contenders[0].promised,
                              contenders[1].promised);
  if (!report.gains.empty()) report.predicted = predict_gain(report.gains);
  if (context.json()) {
    Json json = {{"model", contenders[0].stack.model_id},
                 {"device", contenders[0].stack.device->info().name},
                 {"traffic", describe(args.traffic)}};
    json.update(ab_to_json(report));
    print_json(context, json);
  } else {
    context.out << fmt::format("{} on {}: {}\n", contenders[0].stack.model_id,
                               contenders[0].stack.device->info().name, describe(args.traffic))
                << ab_to_text(report);
  }
  if (interrupt.requested()) return kExitInterrupted;
  return report.failed_a + report.failed_b > 0 ? kExitNotPassed : kExitPassed;
}

}  // namespace

void add_ab_command(CLI::App& app, Action& action) {
  auto args = std::make_shared<AbArgs>();
  CLI::App* command = app.add_subcommand("ab", "Serve the same traffic with two sets of kernels");
  add_serving_options(*command, args->serving);
  command->remove_option(command->get_option("--kernels"));
  command
      ->add_option("--kernels", args->kernels,
                   "Given twice, A then B: a package, 'default' or 'house'")
      ->type_name("PACKAGE")
      ->required()
      ->expected(2)
      ->allow_extra_args(false);
  add_traffic_options(*command, args->traffic);
  command->add_option("--pairs", args->pairs, "Blocks on each side, one right after the other")
      ->check(CLI::Range(2, 1000))
      ->capture_default_str();
  command->add_option("--block", args->block_requests, "Requests of a block")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->footer(
      "Two engines, one for each set of kernels, take turns; both are warm. Answers are greedy by\n"
      "default, so that they can be compared. 'predicted': A's time on the calls that B serves\n"
      "otherwise, over the speedup that the packages' evidence promises for those.\n"
      "Example:\n"
      "  fib ab --kernels default --kernels winners --trace conv.csv --format azure "
      "--scale-lengths 0.25\n");
  command->callback(
      [args, &action] { action = [args](const Context& context) { return ab(context, *args); }; });
}

}  // namespace fib
