// fib kernels: which solutions serve which signatures, by a package or in a running server.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>
#include <ostream>
#include <utility>

#include "integrations/cli/commands.h"
#include "integrations/cli/serving_options.h"
#include "integrations/cli/units.h"
#include "integrations/serving/traffic/endpoint.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

struct KernelsArgs {
  std::string package;  // empty: the default one
  std::string model = "fib-tiny-moe";
  std::string target = "cpu", architecture;
  fs::path into;  // where the default package is kept; empty: the cache
  std::string url, api_key;
  fs::path exchange;  // a package that the server is to exchange its kernels for; empty: none
};

// The same for which no card has to be there.
Result<PackageTarget> target_of(const KernelsArgs& args) {
  if (args.target == "cpu") return PackageTarget{"cpu", "native"};
  if (!args.architecture.empty()) return PackageTarget{"cuda", args.architecture};
  return package_target(FIB_TRY(open_cuda_device(0))->info());
}

Result<PackageLibraryPtr> open_package(const Context& context, const KernelsArgs& args) {
  if (!args.package.empty()) return PackageLibrary::open(args.package, unpack_folder(context));
  DefaultPackageOptions options = FIB_TRY(default_package_options(context));
  if (!args.into.empty()) {
    options.folder = args.into;
    options.shipped.clear();
  }
  const ModelConfig config = FIB_TRY(read_model_config(FIB_TRY(find_model(context, args.model))));
  ProgressLine progress(context.err, context.interactivity);
  return open_default_package(FIB_TRY(target_of(args)),
                              model_signatures(config, ExecutorOptions{}.page_size), options,
                              [&](size_t done, size_t total, std::string_view what) {
                                progress.show(fmt::format("{} of {}: {}", done, total, what));
                              });
}

Result<std::string> text_at(const JsonView& object, std::string_view key) {
  return FIB_TRY(object.at(key)).string();
}
Result<double> number_at(const JsonView& object, std::string_view key) {
  return FIB_TRY(object.at(key)).number();
}
Result<std::vector<JsonView>> list_at(const JsonView& object, std::string_view key) {
  return FIB_TRY(object.at(key)).array();
}

// "batch_size 1..8, K 4096..": where a winner serves.
Result<std::string> ranges_text(const JsonView& where) {
  std::string text;
  for (const auto& [axis, range] : FIB_TRY(where.object())) {
    const std::vector<JsonView> ends = FIB_TRY(range.array());
    if (ends.size() != 2) return range.error("a range has two ends");
    text += fmt::format("{}{} {}..", text.empty() ? "" : ", ", axis, FIB_TRY(ends[0].integer()));
    if (!ends[1].json().is_null()) text += fmt::format("{}", FIB_TRY(ends[1].integer()));
  }
  return text.empty() ? "all" : text;
}

Result<std::string> evidence_text(const JsonView& evidence) {
  return fmt::format("{} over {}",
                     format_speedup(FIB_TRY(number_at(evidence, "speedup")),
                                    FIB_TRY(number_at(evidence, "speedup_low")),
                                    FIB_TRY(number_at(evidence, "speedup_high"))),
                     FIB_TRY(text_at(evidence, "over")));
}

// Winners by hardware and bucket, then what serves everything else.
Result<void> add_signature(const JsonView& signature, Table& table) {
  std::map<std::string, std::string> origins;
  for (const JsonView& solution : FIB_TRY(list_at(signature, "solutions"))) {
    origins[FIB_TRY(text_at(solution, "name"))] = fmt::format(
        "{}, {}", FIB_TRY(text_at(solution, "author")), FIB_TRY(text_at(solution, "license")));
  }
  std::string name = FIB_TRY(text_at(signature, "name"));
  const auto add = [&](std::string hardware, std::string where, const std::string& solution,
                       std::string evidence) {
    table.add({std::exchange(name, {}), std::move(hardware), std::move(where), solution,
               std::move(evidence), origins[solution]});
  };
  for (const JsonView& hardware : FIB_TRY(list_at(signature, "hardware"))) {
    for (const JsonView& bucket : FIB_TRY(list_at(hardware, "buckets"))) {
      add(FIB_TRY(text_at(hardware, "hardware")), FIB_TRY(ranges_text(FIB_TRY(bucket.at("where")))),
          FIB_TRY(text_at(bucket, "solution")),
          FIB_TRY(evidence_text(FIB_TRY(bucket.at("evidence")))));
    }
  }
  for (const std::string target : {"cuda", "cpu"}) {
    const JsonView fallback = FIB_TRY(signature.at(target + "_fallback"));
    for (const std::string& solution : FIB_TRY(fallback.strings()))
      add(target, "else", solution, "");
  }
  return {};
}

Result<int> show_package(const Context& context, const KernelsArgs& args) {
  const PackageLibraryPtr package = FIB_TRY(open_package(context, args));
  if (context.json()) {
    print_json(context, {{"package", package->path().string()},
                         {"sha256", package->digest()},
                         {"manifest", package->manifest()}});
    return kExitPassed;
  }
  const JsonView manifest(package->manifest(), package->path().string());
  Table table(
      {{"signature"}, {"hardware"}, {"where"}, {"solution"}, {"evidence"}, {"by, licence"}});
  for (const JsonView& signature : FIB_TRY(list_at(manifest, "signatures"))) {
    FIB_CHECK(add_signature(signature, table));
  }
  context.out << fmt::format("{} {} ({}), from {}\n", FIB_TRY(text_at(manifest, "name")),
                             FIB_TRY(text_at(manifest, "version")), package->path().string(),
                             FIB_TRY(text_at(manifest, "created_from")));
  table.print(context.out, context.out_style, "  ");
  return kExitPassed;
}

// What a solution did in a running server.
struct Served {
  std::string signature, solution, package;
  double calls = 0.0, seconds = 0.0;
};

Result<Served> served_from(const JsonView& solution) {
  Served served{.solution = FIB_TRY(text_at(solution, "solution")),
                .calls = FIB_TRY(number_at(solution, "calls")),
                .seconds = FIB_TRY(number_at(solution, "host_s"))};
  // By the device's clock where some of the calls were timed by it.
  const double sampled = FIB_TRY(number_at(solution, "sampled_calls"));
  if (sampled > 0.0) {
    served.seconds = FIB_TRY(number_at(solution, "device_s")) / sampled * served.calls;
  }
  return served;
}

Result<std::vector<Served>> read_served(const JsonView& kernels) {
  std::vector<Served> all;
  for (const JsonView& signature : FIB_TRY(list_at(kernels, "signatures"))) {
    const std::string name = FIB_TRY(text_at(signature, "signature"));
    const std::string package = FIB_TRY(text_at(signature, "package"));
    const std::vector<JsonView> solutions = FIB_TRY(list_at(signature, "solutions"));
    if (solutions.empty()) all.push_back({.signature = name, .package = package});
    for (const JsonView& solution : solutions) {
      Served served = FIB_TRY(served_from(solution));
      served.signature = name;
      served.package = package;
      all.push_back(std::move(served));
    }
  }
  return all;
}

// After the exchange has begun, if one is asked for.
Result<Json> kernels_of(const EndpointAddress& address, const KernelsArgs& args) {
  constexpr const char* kKernels = "/fib/kernels";
  if (args.exchange.empty()) return get_json(address, kKernels, args.api_key);
  return post_json(address, kKernels, args.api_key,
                   {{"package", fs::absolute(args.exchange).string()}});
}

Result<int> show_server(const Context& context, const KernelsArgs& args) {
  const EndpointAddress address = FIB_TRY(EndpointAddress::parse(args.url));
  const Json kernels = FIB_TRY(kernels_of(address, args));
  if (context.json()) {
    print_json(context, kernels);
    return kExitPassed;
  }
  const JsonView view(kernels, args.url + "/fib/kernels");
  const std::vector<Served> all = FIB_TRY(read_served(view));
  double total_s = 0.0;
  for (const Served& served : all) total_s += served.seconds;
  Table table({{"signature"},
               {"solution"},
               {"calls", Align::kRight},
               {"a call", Align::kRight},
               {"share", Align::kRight},
               {"package"}});
  for (const Served& served : all) {
    const bool is_called = served.calls > 0.0;
    table.add({served.signature, served.solution, fmt::format("{:.0f}", served.calls),
               is_called ? format_duration_ns(1e9 * served.seconds / served.calls) : "",
               is_called && total_s > 0.0 ? format_percent(served.seconds / total_s) : "",
               served.package});
  }
  const std::string candidate = FIB_TRY(text_at(view, "candidate"));
  const std::string reason = FIB_TRY(text_at(view, "reason"));
  context.out << fmt::format("{}: {}\n", FIB_TRY(text_at(view, "state")),
                             candidate.empty() ? FIB_TRY(text_at(view, "package")) : candidate);
  if (!reason.empty()) context.out << reason << "\n";
  table.print(context.out, context.out_style, "  ");
  return kExitPassed;
}

}  // namespace

void add_kernels_command(CLI::App& app, Action& action) {
  auto args = std::make_shared<KernelsArgs>();
  CLI::App* command = app.add_subcommand("kernels", "Show which solution serves which signature");
  CLI::Option* package = command->add_option(
      "package", args->package, "A folder, .tar.zst or .so; default: the model's default package");
  command->add_option("--model", args->model, "Whose default package; a bundled one, or a folder")
      ->excludes(package)
      ->capture_default_str();
  command->add_option("--target", args->target, "What the default package is for")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  command
      ->add_option("--architecture", args->architecture,
                   "cuda: instead of the card that is here, as sm_90a")
      ->type_name("ARCH");
  command
      ->add_option("--into", args->into, "Keep the default package in this folder, not the cache")
      ->type_name("DIR");
  CLI::Option* url =
      command->add_option("--url", args->url, "Asks a running fib serve what it does")
          ->excludes(package)
          ->type_name("URL");
  command
      ->add_option("--exchange", args->exchange,
                   "A package of this machine that the server, which is on it too, is to exchange "
                   "its kernels for while it serves")
      ->needs(url)
      ->type_name("PACKAGE");
  command->add_option("--api-key", args->api_key, "The server's")->type_name("KEY");
  command->footer(
      "Examples:\n"
      "  fib kernels\n"
      "  fib kernels fib-kernels-2026.11.22.tar.zst\n"
      "  fib kernels --model ~/models/Qwen3-30B-A3B --target cuda\n"
      "  fib kernels --url http://localhost:8000\n"
      "  fib kernels --url http://localhost:8000 --exchange kernels\n");
  command->callback([args, &action] {
    action = [args](const Context& context) {
      return args->url.empty() ? show_package(context, *args) : show_server(context, *args);
    };
  });
}

}  // namespace fib
