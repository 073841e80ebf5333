// fib export --format package: kernels that engines load.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <ostream>

#include "integrations/cli/export_options.h"
#include "integrations/cli/package_options.h"
#include "integrations/cli/text.h"
#include "integrations/cli/units.h"
#include "integrations/package/export/buckets.h"
#include "leaderboard/store.h"

namespace fib {

namespace {

namespace fs = std::filesystem;

constexpr const char* kArchiveSuffix = ".tar.zst";

struct ExportedPackage {
  BuiltPackage package;
  fs::path archive, wheel;  // empty: not asked for
};

PackageSpec spec_of(const ExportArgs& args, const ExportSelection& selection) {
  PackageSpec spec{.version = args.version,
                   .cuda_architectures = selection.architectures,
                   .cpu_levels = selection.cpu_levels,
                   .created_from = selection.origin};
  if (!args.name.empty()) spec.name = args.name;
  for (const Winners& one : selection.winners) spec.signatures.push_back(one.packaged);
  return spec;
}

// OUT without a slash at its end, for names beside it.
fs::path folder_of(const ExportArgs& args) {
  return args.folder.has_filename() ? args.folder : args.folder.parent_path();
}

Result<ExportedPackage> build(const Context& context, const ExportArgs& args,
                              const PackageSpec& spec) {
  const PackageBuildOptions options = FIB_TRY(package_build_options(context));
  const fs::path folder = folder_of(args);
  ProgressLine progress(context.err, context.interactivity);
  progress.show("compiling");
  ExportedPackage exported{
      .package = FIB_TRY(build_package(
          spec, options, folder, [&](size_t done, size_t total, std::string_view what) {
            progress.show(fmt::format("compiling {} of {}: {}", done, total, what));
          }))};
  if (args.has_archive) {
    progress.show("packing");
    exported.archive = folder.string() + kArchiveSuffix;
    FIB_CHECK(archive_package(folder, exported.archive));
  }
  if (args.has_wheel) {
    progress.show("building the wheel");
    exported.wheel = FIB_TRY(build_wheel(context, folder, fs::absolute(folder).parent_path()));
  }
  return exported;
}

void print_winners(const Context& context, const ExportSelection& selection) {
  for (const Winners& one : selection.winners) {
    for (const HardwareChoices& hardware : one.packaged.hardware) {
      context.out << context.out_style.bold(one.packaged.signature->name) << "  "
                  << hardware.hardware << "\n";
      for (const BucketChoice& bucket : hardware.buckets) {
        context.out << fmt::format("  {}  {}: {}\n", describe_intervals(bucket.where),
                                   one.packaged.solutions[bucket.solution].name, bucket.reason);
      }
    }
  }
}

std::string platforms(const ExportSelection& selection) {
  std::vector<std::string> all = selection.architectures;
  all.insert(all.end(), selection.cpu_levels.begin(), selection.cpu_levels.end());
  return fmt::format("{}", fmt::join(all, ", "));
}

void print_package(const Context& context, const ExportArgs& args, const ExportSelection& selection,
                   const ExportedPackage& exported) {
  const size_t measured = selection.buckets_measured();
  context.out << fmt::format(
      "{}: version {}, {} for {}, {}\n", context.out_style.bold(folder_of(args).string()),
      exported.package.version,
      counted(static_cast<int64_t>(selection.winners.size()), "signature"), platforms(selection),
      format_bytes(static_cast<double>(exported.package.bytes)));
  if (measured > 0) {
    context.out << fmt::format("winners in {} of {}; the house's solutions serve the rest\n",
                               selection.buckets_won(),
                               counted(static_cast<int64_t>(measured), "measured bucket"));
  } else {
    context.out << "the house's solutions, no winners\n";
  }
  for (const fs::path& file : {exported.archive, exported.wheel}) {
    if (!file.empty()) context.out << file.string() << "\n";
  }
  context.out << fmt::format("next: fib serve {} --kernels {}\n",
                             args.model.empty() ? "MODEL" : args.model, folder_of(args).string());
}

Json winners_to_json(const ExportSelection& selection) {
  Json winners = Json::array();
  for (const Winners& one : selection.winners) {
    for (const HardwareChoices& hardware : one.packaged.hardware) {
      for (const BucketChoice& bucket : hardware.buckets) {
        winners.push_back({{"signature", one.packaged.signature->name},
                           {"hardware", hardware.hardware},
                           {"bucket", describe_intervals(bucket.where)},
                           {"solution", one.packaged.solutions[bucket.solution].name},
                           {"incumbent", bucket.evidence.incumbent},
                           {"speedup", bucket.evidence.speedup},
                           {"speedup_low", bucket.evidence.speedup_low},
                           {"speedup_high", bucket.evidence.speedup_high},
                           {"verdicts", bucket.evidence.verdicts},
                           {"reason", bucket.reason}});
      }
    }
  }
  return winners;
}

Json selection_to_json(const ExportArgs& args, const ExportSelection& selection) {
  Json document = {{"signatures", selection.winners.size()},
                   {"architectures", selection.architectures},
                   {"cpu_levels", selection.cpu_levels},
                   {"buckets_measured", selection.buckets_measured()},
                   {"buckets_won", selection.buckets_won()},
                   {"winners", winners_to_json(selection)},
                   {"notes", selection.notes}};
  if (args.is_explained) document["explanations"] = explanations_to_json(selection);
  return document;
}

// A line each: of a compiler's complaints the first. With --json all are told.
void print_notes(const Context& context, const std::vector<std::string>& notes) {
  for (const std::string& note : notes) {
    context.err << context.err_style.yellow("note: ") << note.substr(0, note.find('\n')) << "\n";
  }
}

}  // namespace

Result<int> export_package(const Context& context, const ExportArgs& args) {
  const auto store = FIB_TRY(open_export_store(context, args));
  const ExportSelection selection = FIB_TRY(select_for_export(context, args, store.get()));
  if (!context.json()) {
    print_notes(context, selection.notes);
    if (args.is_explained) print_explanations(context, selection);
  }
  if (args.folder.empty()) {
    if (context.json()) print_json(context, selection_to_json(args, selection));
    return kExitPassed;
  }
  const ExportedPackage exported = FIB_TRY(build(context, args, spec_of(args, selection)));
  if (!context.json()) {
    print_notes(context, exported.package.notes);
    if (!args.is_explained) print_winners(context, selection);
    print_package(context, args, selection, exported);
    return kExitPassed;
  }
  Json document = selection_to_json(args, selection);
  document["folder"] = folder_of(args).string();
  document["version"] = exported.package.version;
  document["bytes"] = exported.package.bytes;
  if (!exported.archive.empty()) document["archive"] = exported.archive.string();
  if (!exported.wheel.empty()) document["wheel"] = exported.wheel.string();
  for (const std::string& note : exported.package.notes) document["notes"].push_back(note);
  print_json(context, document);
  return kExitPassed;
}

}  // namespace fib
