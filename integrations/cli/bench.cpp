// fib bench: how fast a model decodes, by batch size, without clients or arrival times.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <ostream>
#include <random>

#include "integrations/cli/commands.h"
#include "integrations/cli/serving_options.h"
#include "integrations/cli/units.h"
#include "integrations/serving/model/checkpoint.h"

namespace fib {
namespace {

using std::chrono::steady_clock;

struct BenchArgs {
  ServingArgs serving;
  std::vector<int> batches = {1, 8, 64};
  int prompt_tokens = 128;
  int output_tokens = 128;  // while all sequences decode
  uint64_t seed = 1;
};

// When the tokens of all sequences of a batch came. Ends are waited for.
class Recorder {
 public:
  void token(size_t sequence) {
    const std::lock_guard lock(mutex_);
    if (times_[sequence].empty() && ++begun_ == times_.size()) changed_.notify_all();
    times_[sequence].push_back(steady_clock::now());
  }
  void end(const std::optional<Error>& error) {
    const std::lock_guard lock(mutex_);
    if (error) error_ = error;
    ++ended_;
    changed_.notify_all();
  }
  explicit Recorder(size_t sequences) : times_(sequences) {}
  // From then on all decode; or something failed.
  void wait_for_first_tokens() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return begun_ == times_.size() || ended_ == times_.size(); });
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ended_ == times_.size(); });
  }
  const std::optional<Error>& error() const { return error_; }
  const std::vector<std::vector<steady_clock::time_point>>& times() const { return times_; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::vector<steady_clock::time_point>> times_;
  size_t begun_ = 0, ended_ = 0;
  std::optional<Error> error_;
};

class SequenceListener : public RequestListener {
 public:
  SequenceListener(std::shared_ptr<Recorder> recorder, size_t sequence)
      : recorder_(std::move(recorder)), sequence_(sequence) {}
  void on_token(const GeneratedToken&) override { recorder_->token(sequence_); }
  void on_end(FinishReason, const RequestUsage&, const std::optional<Error>& error) override {
    recorder_->end(error);
  }

 private:
  std::shared_ptr<Recorder> recorder_;
  size_t sequence_;
};

struct BatchFigures {
  int batch = 0;
  double decode_tokens_per_s = 0.0;  // while all sequences decode
  double step_ms = 0.0;              // of these steps
  // Of the steps without prefill: scheduling and, where it is known, what of the executor isn't
  // waiting.
  double scheduler_ms_per_step = 0.0;
  std::optional<double> executor_host_ms_per_step;
  double bytes_per_step = 0.0;       // that a decode step can't do without
  double prefill_tokens_per_s = 0.0;

  double host_ms_per_step() const {
    return scheduler_ms_per_step + executor_host_ms_per_step.value_or(0.0);
  }
};

// Weights but for unrouted experts, and keys and values in the middle of the output. The experts
// that a batch touches are counted as if it chose at random.
double floor_bytes(const ModelConfig& config, const BenchArgs& args, int batch) {
  double bytes = 0.0;
  const double chosen = config.is_moe() ? static_cast<double>(config.experts_per_token) /
                                              config.num_experts
                                        : 1.0;
  const double touched = 1.0 - std::pow(1.0 - chosen, batch);
  for (const WeightSpec& spec : weight_specs(config)) {
    double elements = 1.0;
    for (const int64_t size : spec.shape) elements *= static_cast<double>(size);
    const double size = elements * bits_of(spec.dtype) / 8.0;
    const bool is_expert = config.is_moe() && (spec.name.find(".w13") != std::string::npos ||
                                               spec.name.find(".w2") != std::string::npos);
    const bool is_lookup = spec.name == "embedding" && !config.has_tied_embedding;
    if (!is_lookup) bytes += is_expert ? size * touched : size;
  }
  return bytes + batch * (args.prompt_tokens + 0.5 * args.output_tokens) *
                     static_cast<double>(config.kv_bytes_per_token());
}

Result<BatchFigures> measure(Engine& engine, const ModelConfig& config, const BenchArgs& args,
                             int batch) {
  std::mt19937_64 random(args.seed + static_cast<uint64_t>(batch));
  const auto recorder = std::make_shared<Recorder>(static_cast<size_t>(batch));
  // Tokens that the first sequence may have when the last one gets its first.
  const int head_start = 8 + batch + batch * args.prompt_tokens / args.serving.chunk_tokens;
  const auto start = steady_clock::now();
  for (int i = 0; i < batch; ++i) {
    EngineRequest request;
    for (int t = 0; t < args.prompt_tokens; ++t) {
      request.prompt.push_back(
          static_cast<TokenId>(random() % static_cast<uint64_t>(config.vocab_size)));
    }
    request.sampling = {.max_tokens = args.output_tokens + head_start, .temperature = 0.0f};
    request.sampling.ignore_eos = true;
    request.listener = std::make_shared<SequenceListener>(recorder, static_cast<size_t>(i));
    FIB_TRY(engine.submit(std::move(request)));
  }
  recorder->wait_for_first_tokens();
  const EngineStats before = engine.stats();
  recorder->wait();
  if (recorder->error()) return fail(*recorder->error());
  const EngineStats after = engine.stats();

  // From when the last sequence has its first token until the first one ends, all decode.
  auto first = steady_clock::time_point::min(), last = steady_clock::time_point::max();
  for (const auto& times : recorder->times()) {
    first = std::max(first, times.front());
    last = std::min(last, times.back());
  }
  size_t tokens = 0;
  for (const auto& times : recorder->times()) {
    tokens += static_cast<size_t>(std::count_if(
        times.begin(), times.end(), [&](auto time) { return time > first && time <= last; }));
  }
  const double seconds = std::chrono::duration<double>(last - first).count();
  const double prefill_s = std::chrono::duration<double>(first - start).count();
  BatchFigures figures{.batch = batch, .bytes_per_step = floor_bytes(config, args, batch)};
  figures.decode_tokens_per_s = static_cast<double>(tokens) / seconds;
  figures.step_ms = 1e3 * batch / figures.decode_tokens_per_s;
  const double ns_to_ms_a_step = 1e6 * static_cast<double>(after.steps - before.steps);
  figures.scheduler_ms_per_step = (after.step_host_ns - before.step_host_ns) / ns_to_ms_a_step;
  if (after.executor_host_ns) {
    figures.executor_host_ms_per_step =
        (*after.executor_host_ns - before.executor_host_ns.value_or(0.0)) / ns_to_ms_a_step;
  }
  figures.prefill_tokens_per_s = batch * args.prompt_tokens / prefill_s;
  return figures;
}

Result<int> bench(const Context& context, const BenchArgs& args) {
  const ServingStack stack = FIB_TRY(open_serving(context, args.serving));
  EngineConfig config = stack.engine_config;
  config.has_prefix_cache = false;
  const auto engine = FIB_TRY(Engine::start(*stack.executor, std::move(config)));
  const ModelConfig& model = stack.executor->config();
  ProgressLine progress(context.err, context.interactivity);
  Table table({{"batch", Align::kRight},
               {"decode", Align::kRight},
               {"step", Align::kRight},
               {"host a step", Align::kRight},
               {"at least read", Align::kRight},
               {"prefill", Align::kRight}});
  Json rows = Json::array();
  for (const int batch : args.batches) {
    progress.show(fmt::format("batch {}", batch));
    FIB_TRY(measure(*engine, model, args, batch));  // captures graphs, fills caches
    const BatchFigures f = FIB_TRY(measure(*engine, model, args, batch));
    const double bytes_per_s = f.bytes_per_step / (f.step_ms / 1e3);
    table.add({std::to_string(batch), fmt::format("{:.0f} tokens/s", f.decode_tokens_per_s),
               fmt::format("{:.3f} ms", f.step_ms), fmt::format("{:.3f} ms", f.host_ms_per_step()),
               format_bandwidth(bytes_per_s),
               fmt::format("{:.0f} tokens/s", f.prefill_tokens_per_s)});
    rows.push_back({{"batch", batch},
                    {"decode_tokens_per_s", f.decode_tokens_per_s},
                    {"step_ms", f.step_ms},
                    {"host_ms_per_step", f.host_ms_per_step()},
                    {"scheduler_ms_per_step", f.scheduler_ms_per_step},
                    {"executor_host_ms_per_step",
                     f.executor_host_ms_per_step ? Json(*f.executor_host_ms_per_step) : Json()},
                    {"bytes_per_step", f.bytes_per_step},
                    {"bandwidth_gbps", bytes_per_s / 1e9},
                    {"prefill_tokens_per_s", f.prefill_tokens_per_s}});
  }
  progress.clear();
  if (context.json()) {
    print_json(context, {{"model", stack.model_id},
                         {"device", stack.device->info().name},
                         {"threads", stack.device->info().threads},
                         {"prompt_tokens", args.prompt_tokens},
                         {"output_tokens", args.output_tokens},
                         {"batches", rows}});
  } else {
    context.out << stack.model_id << " on " << stack.device->info().name << "\n";
    table.print(context.out, context.out_style, "  ");
  }
  return kExitPassed;
}

}  // namespace

void add_bench_command(CLI::App& app, Action& action) {
  auto args = std::make_shared<BenchArgs>();
  CLI::App* command = app.add_subcommand("bench", "Measure how fast a model decodes");
  add_serving_options(*command, args->serving);
  command->add_option("--batch", args->batches, "Sequences at once")
      ->delimiter(',')
      ->check(CLI::Range(1, 512))
      ->capture_default_str();
  command->add_option("--prompt-tokens", args->prompt_tokens, "Of each sequence, random")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--output-tokens", args->output_tokens,
                      "Of each sequence, while all of them decode")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  command->footer(
      "Greedy; each batch runs twice and the second run counts. 'at least read': the bytes a step\n"
      "can't do without (weights, experts of a random choice, keys and values) over its time.\n"
      "'host a step': what the host does for it; scheduling, and on a card all of the rest but\n"
      "waiting for the card.\n"
      "Examples:\n"
      "  fib bench --batch 1,8,64\n"
      "  fib bench MODEL --target cuda --load-format dummy --batch 1,16,64,256\n");
  command->callback([args, &action] {
    action = [args](const Context& context) { return bench(context, *args); };
  });
}

}  // namespace fib
