#include "workloads/workload_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace fib {
namespace {

namespace fs = std::filesystem;

// "name" of "name.jsonl", "name.jsonl.gz" and "name.workload.jsonl"; empty for other files.
std::string trace_file_stem(const fs::path& file) {
  const std::string name = file.filename().string();
  if (!name.ends_with(".jsonl") && !name.ends_with(".jsonl.gz")) return {};
  return name.substr(0, name.find('.'));
}

fs::path dataset_root(const fs::path& file) {
  std::error_code error;
  const fs::path absolute = fs::absolute(file, error);
  for (const char* mark : {"blob", "definitions", "workloads"}) {
    for (fs::path folder = absolute.parent_path(); folder != folder.root_path();
         folder = folder.parent_path()) {
      if (fs::is_directory(folder / mark, error)) return folder;
    }
  }
  return absolute.parent_path();
}

Result<std::vector<fs::path>> trace_files_below(const fs::path& root, std::string_view signature) {
  std::vector<fs::path> files;
  for (const char* part : {"workloads", "traces"}) {
    std::error_code error;
    if (!fs::is_directory(root / part, error)) continue;
    std::vector<fs::path> found;
    fs::recursive_directory_iterator entries(root / part, error);
    for (; !error && entries != fs::recursive_directory_iterator(); entries.increment(error)) {
      const std::string stem = trace_file_stem(entries->path());
      if (!stem.empty() && (signature.empty() || stem == signature)) {
        found.push_back(entries->path());
      }
    }
    if (error) return fail(ErrorCode::kIo, error.message(), (root / part).string());
    std::sort(found.begin(), found.end());
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

// Collects the workload rows of files, one set a signature, each workload once.
class Collector {
 public:
  explicit Collector(std::string_view signature) : signature_(signature) {}

  Result<void> add(const fs::path& file, const fs::path& root, Strictness strictness) {
    std::vector<Trace> traces = FIB_TRY(read_traces(file, strictness));
    for (Trace& trace : traces) {
      if (trace.solution || (!signature_.empty() && trace.definition != signature_)) continue;
      if (!seen_.emplace(trace.definition, workload_id(trace.workload)).second) continue;
      trace.workload.root = root;
      set_of(trace.definition).workloads.push_back(std::move(trace.workload));
    }
    return {};
  }

  std::vector<WorkloadSet> take() { return std::move(sets_); }

 private:
  WorkloadSet& set_of(const std::string& signature) {
    const auto found = std::find_if(sets_.begin(), sets_.end(), [&](const WorkloadSet& set) {
      return set.signature == signature;
    });
    if (found != sets_.end()) return *found;
    sets_.push_back({signature, {}});
    return sets_.back();
  }

  std::string signature_;
  std::vector<WorkloadSet> sets_;
  std::set<std::pair<std::string, std::string>> seen_;  // signature, workload id
};

}  // namespace

Result<std::vector<WorkloadSet>> read_workloads(const fs::path& path, std::string_view signature) {
  std::error_code error;
  Collector collector(signature);
  if (fs::is_directory(path, error)) {
    const std::vector<fs::path> files = FIB_TRY(trace_files_below(path, signature));
    for (const fs::path& file : files) {
      FIB_CHECK(collector.add(file, fs::absolute(path, error), Strictness::kTolerant));
    }
  } else if (fs::exists(path, error)) {
    FIB_CHECK(collector.add(path, dataset_root(path), Strictness::kTolerant));
  } else {
    return fail(ErrorCode::kNotFound, "there is no such file or folder", path.string());
  }
  std::vector<WorkloadSet> sets = collector.take();
  if (sets.empty()) {
    return fail(ErrorCode::kNotFound,
                signature.empty() ? std::string("there are no workloads")
                                  : fmt::format("there are no workloads of {}", signature),
                path.string(), "give a .jsonl file or a folder with workloads/ in it");
  }
  return sets;
}

Result<std::vector<Workload>> builtin_workloads(const fs::path& folder,
                                                const Signature& signature) {
  std::error_code error;
  for (const std::string& name : {signature.name, signature.fib.family}) {
    const fs::path file = folder / signature.op_type / (name + ".jsonl");
    if (name.empty() || !fs::exists(file, error)) continue;
    Collector collector(name);
    FIB_CHECK(collector.add(file, folder, Strictness::kStrict));
    std::vector<WorkloadSet> sets = collector.take();
    if (!sets.empty()) return std::move(sets.front().workloads);
  }
  return fail(ErrorCode::kNotFound,
              fmt::format("there are no built-in workloads of {}", signature.name), folder.string(),
              "name a file or a dataset with workloads of your own");
}

}  // namespace fib
