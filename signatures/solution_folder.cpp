#include "signatures/solution_folder.h"

#include <fmt/format.h>

#include <algorithm>

#include "signatures/base/file.h"
#include "signatures/base/utf8.h"
#include "signatures/design_space_json.h"
#include "signatures/document.h"
#include "signatures/manifest.h"

namespace fib {
namespace {

constexpr uintmax_t kMaxFileBytes = uintmax_t{1} << 20;
constexpr uintmax_t kMaxSolutionBytes = uintmax_t{8} << 20;
constexpr const char* kManifestName = "solution.json";

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

// A link could name any file of the machine that reads the solution.
Result<void> refuse_links(const std::filesystem::path& folder, const std::string& path,
                          const JsonView& view) {
  std::filesystem::path so_far = folder;
  for (const auto& part : std::filesystem::path(path)) {
    so_far /= part;
    std::error_code ignored;
    if (std::filesystem::is_symlink(std::filesystem::symlink_status(so_far, ignored))) {
      return view.error(fmt::format("'{}' is a symbolic link", so_far.string()),
                        "put the file itself into the folder");
    }
  }
  return {};
}

Result<SourceFile> read_source(const std::filesystem::path& folder, const JsonView& view) {
  SourceFile source;
  source.path = FIB_TRY(view.non_empty_string());
  if (!is_safe_relative_path(source.path) || source.path.starts_with("./")) {
    return view.error(fmt::format("source path '{}' leaves the folder", source.path),
                      "a relative path without '.' or '..'");
  }
  if (source.path == kManifestName) return view.error("the manifest is not one of its sources");
  FIB_CHECK(refuse_links(folder, source.path, view));
  const std::filesystem::path file = folder / source.path;
  std::error_code code;
  if (!std::filesystem::is_regular_file(file, code)) {
    return view.error(fmt::format("there is no file '{}'", file.string()));
  }
  const uintmax_t size = std::filesystem::file_size(file, code);
  if (size > kMaxFileBytes) {
    return view.error(fmt::format("'{}' has {} bytes; at most 1 MiB a file", source.path, size));
  }
  source.content = FIB_TRY(read_file(file));
  if (!is_utf8(source.content)) {
    return view.error(fmt::format("'{}' is not UTF-8 text", source.path),
                      "solutions are source code; leave binaries out");
  }
  return source;
}

// Where an ecosystem harness would look for the function that runs.
std::string entry_point_of(const SolutionManifest& manifest) {
  return manifest.target == "cuda" ? manifest.plan + "::fib_plan_entry"
                                   : manifest.entry + "::fib_run";
}

// Why this class of solution can't run here, or nothing if it has a manifest.
std::string unsupported_reason(const Solution& solution) {
  const std::string_view language = language_name(solution.language);
  switch (solution.language) {
    case SolutionLanguage::kPython:
    case SolutionLanguage::kTriton:
    case SolutionLanguage::kTilelang:
      return fmt::format("a {} solution needs the hosted runner", language);
    case SolutionLanguage::kCpp:
    case SolutionLanguage::kCuda:
      break;
  }
  return fmt::format("a {} solution with the {} binding needs the hosted runner", language,
                     solution.binding.value_or("tvm-ffi"));
}

}  // namespace

Result<Solution> read_solution_folder(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / kManifestName;
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) {
    return fail(ErrorCode::kNotFound, fmt::format("there is no {}", kManifestName),
                folder.string(), "a solution is a folder with a manifest; see docs/solutions.md");
  }
  const Json json = FIB_TRY(read_json_file(file));
  const JsonView root(json, file.string());
  FIB_CHECK(root.only_keys({"name", "signature", "author", "target", "description", "entry",
                            "plan", "kernels", "flags", "sources", "license", "tunables",
                            "constraints", "variations"}));
  Solution solution;
  solution.where = file.string();
  const JsonView name = FIB_TRY(root.at("name"));
  solution.name = FIB_TRY(name.non_empty_string());
  if (!is_plain_name(solution.name)) {
    return name.error(fmt::format("name '{}' can't be a file name", solution.name),
                      "letters, digits and ._+- only, not starting with a dot");
  }
  solution.definition = FIB_TRY(FIB_TRY(root.at("signature")).non_empty_string());
  solution.author = FIB_TRY(FIB_TRY(root.at("author")).non_empty_string());
  if (const auto description = root.find("description")) {
    solution.description = FIB_TRY(description->string());
  }

  const JsonView sources = FIB_TRY(root.at("sources"));
  const auto items = FIB_TRY(sources.array());
  std::vector<std::string> paths;
  uintmax_t total_bytes = 0;
  for (const JsonView& item : items) {
    SourceFile source = FIB_TRY(read_source(folder, item));
    if (std::find(paths.begin(), paths.end(), source.path) != paths.end()) {
      return item.error(fmt::format("source '{}' is there twice", source.path));
    }
    total_bytes += source.content.size();
    if (total_bytes > kMaxSolutionBytes) {
      return sources.error("the sources have more than 8 MiB in all");
    }
    paths.push_back(source.path);
    solution.sources.push_back(std::move(source));
  }
  const SolutionManifest manifest = FIB_TRY(read_manifest_fields(root, paths));

  solution.language =
      manifest.target == "cuda" ? SolutionLanguage::kCuda : SolutionLanguage::kCpp;
  solution.target_hardware = {manifest.target};
  solution.entry_point = entry_point_of(manifest);
  solution.fib = manifest_to_json(manifest);
  FIB_CHECK(check_design_space(manifest.space, solution, root));
  return solution;
}

Result<Solution> read_solution(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return read_solution_folder(path);
  const Json json = FIB_TRY(read_json_file(path));
  // A packed solution has a `spec`; a manifest says its `target` itself.
  if (path.filename() == kManifestName && json.is_object() && !json.contains("spec")) {
    return read_solution_folder(path.parent_path());
  }
  return solution_from_json(json, path.string(), Strictness::kTolerant);
}

Result<void> write_solution_folder(const Solution& solution, const std::filesystem::path& folder) {
  const SolutionManifest manifest = FIB_TRY(manifest_of(solution));
  std::error_code code;
  if (std::filesystem::exists(folder, code) && !std::filesystem::is_empty(folder, code)) {
    return fail(ErrorCode::kInvalidInput, "is there already and not empty", folder.string(),
                "name a new folder");
  }
  Json json = Json::object();
  json["name"] = solution.name;
  json["signature"] = solution.definition;
  json["author"] = solution.author;
  if (!solution.description.empty()) json["description"] = solution.description;
  json.update(manifest_to_json(manifest));
  json["sources"] = Json::array();
  for (const SourceFile& source : solution.sources) {
    if (!is_safe_relative_path(source.path) || source.path == kManifestName) {
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("source path '{}' can't be unpacked", source.path), solution.where);
    }
    json["sources"].push_back(source.path);
  }
  for (const SourceFile& source : solution.sources) {
    const std::filesystem::path file = folder / source.path;
    std::filesystem::create_directories(file.parent_path(), code);
    if (code) return fail(ErrorCode::kIo, code.message(), file.parent_path().string());
    FIB_CHECK(write_file_atomically(file, source.content));
  }
  return write_file_atomically(folder / kManifestName, dump_json_pretty(json) + "\n");
}

Result<SolutionManifest> manifest_of(const Solution& solution) {
  if (!solution.fib.is_object()) {
    return fail(ErrorCode::kUnsupported, unsupported_reason(solution), solution.where,
                "only solutions with a fib manifest (docs/solutions.md) run on this runner");
  }
  const JsonView view(solution.fib, solution.where, "/fib");
  FIB_CHECK(view.only_keys({"target", "entry", "plan", "kernels", "flags", "license", "tunables",
                            "constraints", "variations"}));
  std::vector<std::string> paths;
  for (const SourceFile& source : solution.sources) paths.push_back(source.path);
  return read_manifest_fields(view, paths);
}

bool solution_fits(const Solution& solution, const Signature& signature) {
  return solution.definition == signature.name ||
         (!signature.fib.family.empty() && solution.definition == signature.fib.family);
}

}  // namespace fib
