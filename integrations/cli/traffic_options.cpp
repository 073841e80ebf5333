#include "integrations/cli/traffic_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "integrations/cli/number_checks.h"
#include "integrations/serving/tokenizer/tokenizer.h"
#include "signatures/base/text_file.h"

namespace fib {
namespace {

Result<std::vector<TokenId>> read_corpus(const TrafficArgs& args,
                                         const std::filesystem::path& model_folder) {
  if (args.corpus.empty()) return std::vector<TokenId>();
  const Tokenizer tokenizer = FIB_TRY(Tokenizer::open(model_folder));
  const std::string text = FIB_TRY(read_text_file(args.corpus));
  auto tokens = FIB_TRY(tokenizer.encode(text, Tokenizer::SpecialTokens::kAsText));
  if (tokens.empty()) return fail(ErrorCode::kInvalidInput, "has no text", args.corpus);
  return tokens;
}

}  // namespace

void add_traffic_options(CLI::App& command, TrafficArgs& args) {
  command.add_option("--trace", args.trace, "The requests (.gz too)")
      ->required()
      ->check(CLI::ExistingFile)
      ->type_name("FILE");
  command.add_option("--format", args.format, "Of the trace; vidur: lengths only")
      ->required()
      ->check(CLI::IsMember({"mooncake", "azure", "vidur"}));
  command.add_option("--rate-scale", args.rate_scale, "2: arrivals twice as fast as in the trace")
      ->check(number_above(0.0))
      ->capture_default_str();
  command
      .add_option("--rate", args.rate, "Requests a second, drawn (Poisson) in place of the trace's")
      ->check(number_above(0.0))
      ->excludes("--rate-scale");
  command
      .add_option("--scale-lengths", args.length_scale,
                  "Of prompts, answers and shared prefixes; 0.25: a quarter as long")
      ->check(number_above(0.0))
      ->capture_default_str();
  command.add_option("--first", args.first_request, "Requests of the trace to skip")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      .add_option("--corpus", args.corpus,
                  "Text that prompts are pieces of; default: random tokens")
      ->check(CLI::ExistingFile)
      ->type_name("FILE");
  command.add_option("--temperature", args.temperature, "Of the sampling")
      ->check(number_from(0.0, 2.0))
      ->capture_default_str();
  command.add_option("--seed", args.seed, "Of prompts, arrivals and sampling")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
}

std::string describe(const TrafficArgs& args) {
  std::string text = std::filesystem::path(args.trace).stem().string();
  text += args.rate ? fmt::format(", {:g} requests/s", *args.rate)
                    : fmt::format(", rate x {:g}", args.rate_scale);
  return text + fmt::format(", lengths x {:g}", args.length_scale);
}

Result<RequestTrace> read_trace(const TrafficArgs& args) {
  return read_request_trace(args.trace, *trace_format_from_name(args.format));
}

Result<TrafficOptions> traffic_options(const TrafficArgs& args,
                                       const std::filesystem::path& model_folder, int vocab_size,
                                       int max_tokens) {
  return TrafficOptions{.rate_scale = args.rate_scale,
                        .poisson_rate = args.rate,
                        .length_scale = args.length_scale,
                        .first_request = args.first_request,
                        .num_requests = args.num_requests,
                        .num_warm_up = args.num_warm_up,
                        .max_tokens = max_tokens,
                        .vocab_size = vocab_size,
                        .corpus = FIB_TRY(read_corpus(args, model_folder)),
                        .temperature = args.temperature,
                        .seed = args.seed};
}

}  // namespace fib
