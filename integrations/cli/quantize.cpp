// fib quantize: a bfloat16 mixture-of-experts checkpoint to one with INT4 experts.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <ostream>
#include <thread>

#include "integrations/cli/commands.h"
#include "integrations/cli/units.h"
#include "integrations/serving/model/quantize.h"

namespace fib {
namespace {

struct QuantizeArgs {
  std::filesystem::path source, target;
  std::string scales = "least-error";
  std::string shard_size = "4G";
  int threads = 0;
};

void print_report(const Context& context, const QuantizeReport& report,
                  const std::filesystem::path& target) {
  Table table({{"layer", Align::kRight}, {"relative error", Align::kRight}});
  for (const QuantizeReport::Layer& layer : report.layers) {
    table.add({std::to_string(layer.layer), fmt::format("{:.4f}", layer.relative_rms_error)});
  }
  table.print(context.out, context.out_style);
  context.out << fmt::format(
      "all experts {:.4f} (RMS of the rounding over RMS of the weights), worst {:.4f} in {}\n"
      "{} tensors quantised, {} copied: {} to {} in {}\n",
      report.relative_rms_error, report.worst.relative_rms_error, report.worst.tensor,
      report.quantized_tensors, report.copied_tensors,
      format_bytes(static_cast<double>(report.source_bytes)),
      format_bytes(static_cast<double>(report.target_bytes)), target.string());
}

Result<int> quantize(const Context& context, const QuantizeArgs& args) {
  ProgressLine progress(context.err, context.interactivity);
  const unsigned processors = std::max(1u, std::thread::hardware_concurrency());
  const QuantizeReport report = FIB_TRY(quantize_checkpoint(
      {.source = args.source,
       .target = args.target,
       .scale_rule =
           args.scales == "max-abs" ? ScaleRule::kMaxAbs : ScaleRule::kLeastError,
       .shard_bytes = FIB_TRY(parse_bytes(args.shard_size, "--shard-size")),
       .num_threads = args.threads > 0 ? args.threads : static_cast<int>(processors),
       .on_progress = [&](int done, int total) {
         progress.show(fmt::format("[{}/{}] tensors", done, total));
       }}));
  progress.clear();
  if (context.json()) {
    print_json(context, report.to_json());
  } else {
    print_report(context, report, args.target);
  }
  return kExitPassed;
}

}  // namespace

void add_quantize_command(CLI::App& app, Action& action) {
  auto args = std::make_shared<QuantizeArgs>();
  CLI::App* command = app.add_subcommand(
      "quantize", "Turn a bf16 mixture-of-experts checkpoint's experts into INT4");
  command->add_option("source", args->source, "Hugging Face folder with bf16 experts")
      ->required();
  command->add_option("target", args->target, "Folder to write; must not exist")->required();
  command->add_option("--scales", args->scales,
                      "least-error searches each group's scale; max-abs takes max / 7.5")
      ->check(CLI::IsMember({"least-error", "max-abs"}))
      ->capture_default_str();
  command->add_option("--shard-size", args->shard_size, "Largest file")
      ->type_name("SIZE")
      ->capture_default_str();
  command->add_option("--threads", args->threads, "Default: all processors")
      ->check(CLI::PositiveNumber);
  command->footer(
      "Writes compressed-tensors pack-quantized files: 4 bits, groups of 32, bf16 scales.\n"
      "Example:\n"
      "  fib quantize ~/models/Qwen3-30B-A3B ~/models/Qwen3-30B-A3B-int4\n");
  command->callback([args, &action] {
    action = [args](const Context& context) { return quantize(context, *args); };
  });
}

}  // namespace fib
