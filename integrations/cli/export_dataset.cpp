// fib export --format flashinfer-trace: the store, or its winners, as a FlashInfer-Trace dataset
// that its own tools accept.

#include <fmt/format.h>

#include <limits>
#include <map>
#include <ostream>
#include <set>

#include "integrations/cli/dataset.h"
#include "integrations/cli/export_options.h"
#include "integrations/cli/text.h"
#include "leaderboard/store.h"
#include "signatures/base/file.h"

namespace fib {

namespace {

struct Exported {
  std::set<std::string> definitions;
  std::set<std::filesystem::path> solutions;
  std::set<std::pair<std::string, std::string>> workloads;
  int64_t traces = 0, blobs = 0;
  std::set<std::string> missing_blobs;
};

class Exporter {
 public:
  Exporter(const Store& store, const Catalog& catalog, std::filesystem::path folder)
      : store_(store), catalog_(catalog), layout_{std::move(folder)} {}

  Result<void> add(const Verdict& verdict) {
    const SignaturePtr signature = FIB_TRY(catalog_.find(verdict.signature));
    const Solution solution =
        FIB_TRY(add_solution(*signature, FIB_TRY(store_.solution(verdict.solution_key))));
    const Workload workload = FIB_TRY(store_.workload(verdict.signature, verdict.workload));
    FIB_CHECK(add_workload(*signature, workload));
    Trace trace = verdict_to_trace(verdict, workload);
    trace.solution = solution.name;
    FIB_CHECK(append_traces(layout_.traces(solution.author, signature->op_type, signature->name),
                            {trace}));
    ++exported_.traces;
    return {};
  }

  // With its definition; returned as it is called over there.
  Result<Solution> add_solution(const Signature& signature, Solution solution) {
    FIB_CHECK(add_definition(signature));
    // A family's solution becomes one solution for each of its signatures: over there a solution
    // belongs to one definition, and names are unique over the dataset.
    if (solution.definition != signature.name) {
      solution.name += "__" + signature.name;
      solution.definition = signature.name;
    }
    const std::filesystem::path file =
        layout_.solution(solution.author, signature.op_type, signature.name, solution.name);
    // Verdicts come newest first: of several versions under one name the newest is kept.
    if (exported_.solutions.insert(file).second) {
      FIB_CHECK(write(file, dump_json_pretty(solution_to_json(solution))));
    }
    return solution;
  }

  const Exported& exported() const { return exported_; }

 private:
  Result<void> add_definition(const Signature& signature) {
    if (!exported_.definitions.insert(signature.name).second) return {};
    return write(layout_.definition(signature.op_type, signature.name),
                 dump_json_pretty(signature_to_json(signature)));
  }

  Result<void> add_workload(const Signature& signature, const Workload& workload) {
    if (!exported_.workloads.insert({signature.name, workload_id(workload)}).second) return {};
    for (const auto& [name, input] : workload.inputs) {
      if (const auto* blob = std::get_if<SafetensorsInput>(&input)) {
        FIB_CHECK(copy_blob(workload.root / blob->path, layout_.root / blob->path));
      }
    }
    Trace row;
    row.definition = signature.name;
    row.workload = workload;
    row.workload.uuid = workload_id(workload);
    return append_traces(layout_.workloads(signature.op_type, signature.name), {row});
  }

  Result<void> copy_blob(const std::filesystem::path& from, const std::filesystem::path& to) {
    std::error_code trouble;
    if (std::filesystem::exists(to, trouble)) return {};
    if (!std::filesystem::exists(from, trouble)) {
      exported_.missing_blobs.insert(from.string());
      return {};
    }
    const std::string content = FIB_TRY(read_file(from));
    FIB_CHECK(write(to, content));
    ++exported_.blobs;
    return {};
  }

  static Result<void> write(const std::filesystem::path& file, const std::string& content) {
    std::error_code trouble;
    std::filesystem::create_directories(file.parent_path(), trouble);
    if (trouble) return fail(ErrorCode::kIo, trouble.message(), file.parent_path().string());
    return write_file_atomically(file, content);
  }

  const Store& store_;
  const Catalog& catalog_;
  DatasetLayout layout_;
  Exported exported_;
};

Result<void> check_is_new(const std::filesystem::path& folder) {
  std::error_code trouble;
  if (std::filesystem::exists(folder, trouble) && !std::filesystem::is_empty(folder, trouble)) {
    return fail(ErrorCode::kInvalidInput, "the folder is not empty", folder.string(),
                "name a new one: traces are appended to files, so that exporting twice into one "
                "folder would count them twice");
  }
  return {};
}

Result<void> add_verdicts(Exporter& exporter, const Context& context, const Store& store,
                          const ExportArgs& args) {
  std::vector<std::string> signatures = args.signatures;
  if (signatures.empty()) signatures.push_back("");  // any
  for (const std::string& signature : signatures) {
    const auto verdicts = FIB_TRY(store.query({.signature = signature,
                                               .only_latest = !args.is_all,
                                               .limit = std::numeric_limits<int64_t>::max()}));
    if (verdicts.empty()) {
      return fail(ErrorCode::kNotFound,
                  "no verdicts to export" + (signature.empty() ? "" : " of " + signature),
                  context.store_file.string());
    }
    for (const Verdict& verdict : verdicts) FIB_CHECK(exporter.add(verdict));
  }
  return {};
}

// Those that a package would contain, with the verdicts that they won by.
Result<void> add_winners(Exporter& exporter, const Store& store, const ExportSelection& selection) {
  for (const Winners& one : selection.winners) {
    std::set<int64_t> added;
    for (const HardwareChoices& hardware : one.packaged.hardware) {
      for (const BucketChoice& bucket : hardware.buckets) {
        const Solution& winner = one.packaged.solutions[bucket.solution];
        FIB_CHECK(exporter.add_solution(*one.packaged.signature, winner));
        for (const int64_t id : bucket.evidence.verdicts) {
          const Verdict verdict = FIB_TRY(store.get(id));
          // Chains of pairs go through verdicts of others.
          if (verdict.solution_key != solution_key(winner) || !added.insert(id).second) continue;
          FIB_CHECK(exporter.add(verdict));
        }
      }
    }
  }
  return {};
}

Result<void> fill(Exporter& exporter, const Context& context, const Store& store,
                  const ExportArgs& args) {
  if (!args.is_winners) return add_verdicts(exporter, context, store, args);
  const ExportSelection selection = FIB_TRY(select_for_export(context, args, &store));
  if (args.is_explained && !context.json()) print_explanations(context, selection);
  if (selection.buckets_won() == 0) {
    return fail(ErrorCode::kNotFound, "nobody won a bucket", context.store_file.string(),
                "'fib export --explain' says why");
  }
  return add_winners(exporter, store, selection);
}

}  // namespace

Result<int> export_dataset(const Context& context, const ExportArgs& args) {
  FIB_CHECK(check_is_new(args.folder));
  const Catalog catalog = FIB_TRY(open_catalog(context));
  const auto store =
      FIB_TRY(args.is_winners ? open_export_store(context, args) : Store::open(context.store_file));
  Exporter exporter(*store, catalog, args.folder);
  FIB_CHECK(fill(exporter, context, *store, args));
  const Exported& exported = exporter.exported();
  if (context.json()) {
    print_json(context, {{"folder", args.folder.string()},
                         {"definitions", exported.definitions.size()},
                         {"solutions", exported.solutions.size()},
                         {"workloads", exported.workloads.size()},
                         {"traces", exported.traces},
                         {"blobs", exported.blobs},
                         {"missing_blobs", exported.missing_blobs}});
    return kExitPassed;
  }
  context.out << fmt::format(
      "{}, {}, {}, {}, {} into {}\n", counted(exported.definitions.size(), "definition"),
      counted(exported.solutions.size(), "solution"),
      counted(exported.workloads.size(), "workload"), counted(exported.traces, "trace"),
      counted(exported.blobs, "blob"), args.folder.string());
  for (const std::string& blob : exported.missing_blobs) {
    context.err << context.err_style.yellow("note: ") << "not there any more: " << blob << "\n";
  }
  return kExitPassed;
}

}  // namespace fib
