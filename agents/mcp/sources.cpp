#include "agents/mcp/sources.h"

#include <fmt/format.h>

#include "agents/call_folder.h"
#include "signatures/base/file.h"

namespace fib::mcp {

namespace {

constexpr int kMostFiles = 64;

// The client knows its files by their own names only.
std::string without(std::string text, const std::string& folder) {
  for (size_t at = text.find(folder); at != std::string::npos; at = text.find(folder, at)) {
    text.erase(at, folder.size());
  }
  return text;
}

Result<Solution> read_files(const Json& files, const Folders& folders) {
  std::vector<SourceFile> sources;
  for (const auto& [path, content] : files.items()) {
    sources.push_back({path, content.get<std::string>()});
  }
  const agents::CallFolder scratch = FIB_TRY(agents::CallFolder::make(folders.scratch));
  FIB_CHECK(write_files(sources, scratch.path()));
  auto solution = read_solution_folder(scratch.path());
  if (!solution) {
    Error error = solution.error();
    const std::string prefix = scratch.path().string();
    error.where = without(without(error.where, prefix + "/"), prefix);
    error.message = without(without(error.message, prefix + "/"), prefix);
    return fail(error);
  }
  solution->where = "files/solution.json";
  return solution;
}

bool lies_in(const std::filesystem::path& path, const std::filesystem::path& folder) {
  const auto relative = path.lexically_relative(folder);
  return !relative.empty() && *relative.begin() != "..";
}

}  // namespace

Json candidate_schema() {
  return {{"files",
           {{"type", "object"},
            {"description",
             "The solution's files, path -> content: solution.json and all that it lists. One of "
             "files, folder and solution is given."},
            {"minProperties", 1},
            {"maxProperties", kMostFiles},
            {"additionalProperties", {{"type", "string"}}}}},
          {"folder",
           {{"type", "string"},
            {"minLength", 1},
            {"description", "A solution folder, relative to the server's root"}}},
          {"solution",
           {{"type", "string"},
            {"minLength", 1},
            {"description", "Name or key of a solution that was judged before, or a house one"}}}};
}

Result<std::filesystem::path> folder_below_root(const std::string& folder, const Folders& folders) {
  constexpr const char* kPlace = "arguments.folder";
  if (folders.root.empty()) {
    return fail(ErrorCode::kUnsupported, "this server was started without --root", kPlace,
                "give the sources as 'files'");
  }
  if (!is_safe_relative_path(folder)) {
    return fail(ErrorCode::kInvalidInput, fmt::format("'{}' leaves the root", folder), kPlace,
                "a relative path without '..'");
  }
  std::error_code code;
  const auto root = std::filesystem::canonical(folders.root, code);
  if (code) return fail(ErrorCode::kIo, code.message(), folders.root.string());
  const auto path = std::filesystem::weakly_canonical(root / folder, code);
  if (code || !lies_in(path, root)) {
    return fail(ErrorCode::kInvalidInput, fmt::format("'{}' leads out of the root", folder), kPlace,
                "a folder below the root, not a link out of it");
  }
  return path;
}

Result<void> write_files(const std::vector<SourceFile>& files,
                         const std::filesystem::path& folder) {
  std::error_code code;
  for (const SourceFile& file : files) {
    if (!is_safe_relative_path(file.path)) {
      return fail(ErrorCode::kInvalidInput, fmt::format("path '{}' leaves the folder", file.path),
                  "arguments.files", "a relative path without '..'");
    }
  }
  if (std::filesystem::exists(folder, code) && !std::filesystem::is_empty(folder, code)) {
    return fail(ErrorCode::kInvalidInput, "the folder is not empty", "arguments.folder",
                "name a new one");
  }
  for (const SourceFile& file : files) {
    const std::filesystem::path path = folder / file.path;
    std::filesystem::create_directories(path.parent_path(), code);
    if (code) return fail(ErrorCode::kIo, code.message(), file.path);
    FIB_CHECK(write_file_atomically(path, file.content));
  }
  return {};
}

Result<Solution> read_candidate(const Json& arguments, const Folders& folders,
                                Workbench& workbench) {
  const int given =
      arguments.contains("files") + arguments.contains("folder") + arguments.contains("solution");
  if (given != 1) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("{} of files, folder and solution are given", given), "arguments",
                "give one of them");
  }
  if (arguments.contains("files")) return read_files(arguments["files"], folders);
  if (arguments.contains("folder")) {
    return read_solution_folder(
        FIB_TRY(folder_below_root(arguments["folder"].get<std::string>(), folders)));
  }
  return workbench.find_solution(arguments["solution"].get<std::string>());
}

}  // namespace fib::mcp
