#include "integrations/cli/solution_files.h"

#include <algorithm>

namespace fib {

std::vector<std::filesystem::path> files_below(const std::filesystem::path& root,
                                               const std::vector<std::string>& endings) {
  std::vector<std::filesystem::path> files;
  std::error_code ignored;
  using Walk = std::filesystem::recursive_directory_iterator;
  for (auto it = Walk(root, std::filesystem::directory_options::skip_permission_denied, ignored);
       it != Walk(); it.increment(ignored)) {
    const std::string name = it->path().filename().string();
    const bool is_wanted =
        std::any_of(endings.begin(), endings.end(),
                    [&](const std::string& ending) { return name.ends_with(ending); });
    if (is_wanted && it->is_regular_file(ignored)) files.push_back(it->path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

Result<std::vector<Solution>> read_solutions_below(const std::filesystem::path& root) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(root, ignored)) {
    return fail(ErrorCode::kNotFound, "no such folder", root.string());
  }
  std::vector<Solution> solutions;
  for (const std::filesystem::path& file : files_below(root, {"solution.json"})) {
    solutions.push_back(FIB_TRY(read_solution_folder(file.parent_path())));
  }
  if (solutions.empty()) {
    return fail(ErrorCode::kNotFound, "no solution.json at any depth", root.string(),
                "'fib solution new' makes a folder to start from");
  }
  return solutions;
}

}  // namespace fib
