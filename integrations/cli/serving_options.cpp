#include "integrations/cli/serving_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "integrations/cli/units.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModelsFolder = "integrations/serving/models";

// On the CPU memory is shared with everybody else: the cache isn't given all of it unasked.
constexpr size_t kCpuCacheBytes = size_t{1} << 30;

Result<ExecutorOptions> executor_options(const ServingArgs& args) {
  ExecutorOptions options{.max_positions = args.max_model_len,
                          .max_decode_rows = args.max_batch,
                          .graphs = args.has_no_graphs ? GraphUse::kNever : GraphUse::kWhereAble,
                          .profile_every = args.profile_every,
                          .profile_prefill_every = args.profile_prefill_every};
  const int prefill = args.prefill == "layered" ? args.cohort_tokens : args.chunk_tokens;
  options.max_step_tokens = prefill + args.max_batch;
  if (!args.kv_cache.empty()) {
    options.kv_bytes = FIB_TRY(parse_bytes(args.kv_cache, "--kv-cache"));
  } else if (args.target == "cpu") {
    options.kv_bytes = kCpuCacheBytes;
  }
  return options;
}

std::vector<std::string> bundled_models(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (auto it = fs::directory_iterator(folder, ignored); it != fs::directory_iterator();
       it.increment(ignored)) {
    if (fs::exists(it->path() / "config.json", ignored)) {
      names.push_back(it->path().filename().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

void add_serving_options(CLI::App& app, ServingArgs& args) {
  app.add_option("model", args.model, "A bundled model, or a Hugging Face folder")
      ->capture_default_str();
  app.add_option("--target", args.target, "What it runs on")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  app.add_option("--device", args.device, "Index of the card")->capture_default_str();
  app.add_option("--load-format", args.load_format,
                 "dummy: random weights for a config.json, to measure with")
      ->check(CLI::IsMember({"checkpoint", "dummy"}))
      ->capture_default_str();
  app.add_option("--kernels", args.kernels,
                 "A package of kernels (folder, .tar.zst or .so), or 'house' for the house's "
                 "solutions one by one; default: a package of these, built once")
      ->type_name("PACKAGE");
  app.add_option("--threads", args.threads, "cpu: threads of the kernels; default: all processors")
      ->check(CLI::PositiveNumber);
  app.add_option("--max-model-len", args.max_model_len,
                 "Longest prompt and answer together, in tokens; default: the model's")
      ->check(CLI::PositiveNumber);
  app.add_option("--kv-cache", args.kv_cache,
                 "Memory for keys and values, as 2G; default: 1G on the CPU, what is left on a card")
      ->type_name("SIZE");
  app.add_option("--max-batch", args.max_batch, "Sequences that decode at once")
      ->check(CLI::Range(1, 512))
      ->capture_default_str();
  app.add_option("--prefill", args.prefill, "How prompts are fitted in between decode steps")
      ->check(CLI::IsMember({"chunked", "layered"}))
      ->capture_default_str();
  app.add_option("--chunk-tokens", args.chunk_tokens, "chunked: prompt tokens a step")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  app.add_option("--cohort-tokens", args.cohort_tokens, "layered: prompt tokens of a cohort")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  app.add_option("--step-timeout", args.step_timeout_s,
                 "A step that takes longer counts as hanging: a card is lost, /health says so")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.001, 86400.0))
      ->capture_default_str();
  app.add_flag("--no-prefix-cache", args.has_no_prefix_cache, "Compute every prompt anew");
  app.add_flag("--no-graphs", args.has_no_graphs, "cuda: launch decode steps kernel by kernel");
}

Result<fs::path> find_model(const Context& context, const std::string& name) {
  const fs::path bundled = context.home.root / kModelsFolder;
  std::error_code ignored;
  if (fs::exists(fs::path(name) / "config.json", ignored)) return fs::path(name);
  if (fs::exists(bundled / name / "config.json", ignored)) return bundled / name;
  return fail(ErrorCode::kNotFound, "no model of that name, and no folder with a config.json",
              name, fmt::format("bundled: {}", fmt::join(bundled_models(bundled), ", ")));
}

Result<ServingStack> open_serving(const Context& context, const ServingArgs& args) {
  ServingStack stack;
  stack.folder = FIB_TRY(find_model(context, args.model));
  stack.model_id = fs::weakly_canonical(stack.folder).filename().string();
  const ExecutorOptions options = FIB_TRY(executor_options(args));
  const ModelConfig config = FIB_TRY(read_model_config(stack.folder));
  if (args.prefill == "layered" && !config.is_moe()) {
    context.err << "--prefill layered: chunked, since the model is dense\n";
  }
  ProgressLine progress(context.err, context.interactivity);
  progress.show("opening " + args.target);
  stack.device = args.target == "cpu" ? FIB_TRY(open_cpu_device(args.threads))
                                      : FIB_TRY(open_cuda_device(args.device,
                                                                  args.step_timeout_s));
  ServingKernels kernels = FIB_TRY(open_serving_kernels(
      context, *stack.device,
      {.kernels = args.kernels,
       .signatures = model_signatures(config, options.page_size),
       .progress = [&](const std::string& activity) { progress.show(activity); }}));
  stack.package = std::move(kernels.package);
  stack.dispatch = std::move(kernels.dispatch);
  stack.executor = FIB_TRY(load_model(
      *stack.dispatch,
      {.folder = stack.folder,
       .format = args.load_format == "dummy" ? LoadFormat::kDummy : LoadFormat::kCheckpoint},
      options, [&](std::string_view activity, size_t done, size_t total) {
        progress.show(fmt::format("{} ({} %)", activity, total == 0 ? 100 : 100 * done / total));
      }));
  stack.engine_config = {.prefill = args.prefill == "layered" ? PrefillPolicy::kLayered
                                                              : PrefillPolicy::kChunked,
                         .chunk_tokens = args.chunk_tokens,
                         .cohort_tokens = args.cohort_tokens,
                         .max_decode_rows = args.max_batch,
                         .has_prefix_cache = !args.has_no_prefix_cache,
                         .step_timeout_s = args.step_timeout_s,
                         .eos_tokens = stack.executor->config().eos_tokens};
  return stack;
}

}  // namespace fib
