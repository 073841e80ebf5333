#include "integrations/package/house_solutions.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace fib {
namespace {

namespace fs = std::filesystem;

// Where several house solutions serve a signature: the ones named earlier go first, the ones not
// named come after them.
constexpr std::array<std::string_view, 4> kPreferred = {
    // Before gemm-mma and the like, which also build for cards that aren't Hoppers.
    "gemm-wgmma",
    "gemm-bf16-hopper",
    "gemm-bf16-f32-hopper",
    "rmsnorm-rows",  // before rmsnorm-plain, which shows how it is done
};

size_t preference(const Solution& solution) {
  return static_cast<size_t>(std::find(kPreferred.begin(), kPreferred.end(), solution.name) -
                             kPreferred.begin());
}

Result<std::vector<fs::path>> folders_in(const fs::path& folder) {
  std::vector<fs::path> folders;
  std::error_code failed;
  for (fs::directory_iterator it(folder, failed); !failed && it != fs::directory_iterator();
       it.increment(failed)) {
    if (it->is_directory(failed)) folders.push_back(it->path());
  }
  if (failed) {
    return fail(ErrorCode::kNotFound, fmt::format("can't be read: {}", failed.message()),
                folder.string(), "name the folder of the house's solutions");
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

}  // namespace

Result<HouseSolutions> HouseSolutions::read(const fs::path& folder, std::string target) {
  HouseSolutions house;
  for (const fs::path& family : FIB_TRY(folders_in(folder / target))) {
    for (const fs::path& solution : FIB_TRY(folders_in(family))) {
      house.solutions_.push_back(FIB_TRY(read_solution_folder(solution)));
    }
  }
  house.target_ = std::move(target);
  return house;
}

Result<std::vector<const Solution*>> HouseSolutions::for_signature(
    const Signature& signature) const {
  std::vector<const Solution*> fitting;
  for (const Solution& solution : solutions_) {
    if (solution_fits(solution, signature)) fitting.push_back(&solution);
  }
  if (fitting.empty()) {
    return fail(ErrorCode::kNotFound,
                fmt::format("the house has no solution for the target '{}'", target_),
                signature.name);
  }
  std::stable_sort(fitting.begin(), fitting.end(), [](const Solution* a, const Solution* b) {
    return preference(*a) < preference(*b);
  });
  if (fitting.size() > 1 && preference(*fitting[0]) == kPreferred.size()) {
    return fail(ErrorCode::kConflict,
                fmt::format("both '{}' and '{}' serve it", fitting[0]->name, fitting[1]->name),
                signature.name, "name the better one in integrations/package/house_solutions.cpp");
  }
  return fitting;
}

}  // namespace fib
