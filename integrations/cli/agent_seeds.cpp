#include "integrations/cli/agent_seeds.h"

#include <fmt/format.h>

#include <algorithm>

#include "integrations/cli/contenders.h"
#include "integrations/cli/solution_files.h"
#include "integrations/package/house_solutions.h"
#include "signatures/solution_folder.h"

namespace fib {

namespace {

// Why it can't be a seed, or nothing.
std::optional<Error> refusal(const SeedSearch& search, const Solution& solution) {
  const auto manifest = manifest_of(solution);
  if (!manifest) return manifest.error();
  if (!solution_fits(solution, *search.signature)) {
    return Error{ErrorCode::kInvalidInput,
                 fmt::format("is for {}, not for {}", solution.definition, search.signature->name),
                 solution.name, "name another with --seeds"};
  }
  if (manifest->target != search.runner.target()) {
    return Error{ErrorCode::kInvalidInput,
                 fmt::format("is written for target '{}', not for '{}'", manifest->target,
                             search.runner.target()),
                 solution.name, "name another with --seeds, or another --target"};
  }
  const Support support = search.runner.supports(solution, *search.signature);
  if (support.ok) return std::nullopt;
  return Error{ErrorCode::kUnsupported, fmt::format("can't run: {}", support.reason), solution.name,
               support.remedy};
}

Result<std::vector<Solution>> asked_seeds(const SeedSearch& search) {
  std::vector<Solution> seeds;
  for (const std::string& who : search.asked) {
    std::vector<Solution> found;
    std::error_code ignored;
    if (std::filesystem::is_directory(who, ignored)) {
      found = FIB_TRY(read_solutions_below(who));
      if (found.empty()) {
        return fail(ErrorCode::kNotFound, "there is no solution below it", who,
                    "a solution is a folder with a solution.json");
      }
      // Of a folder of many, those that fit; of one alone it is said why not.
      if (found.size() > 1) {
        std::erase_if(found, [&](const Solution& it) { return refusal(search, it).has_value(); });
      }
    } else {
      found.push_back(FIB_TRY(find_solution(search.context, who)));
    }
    for (Solution& solution : found) {
      if (const auto reason = refusal(search, solution)) return fail(*reason);
      seeds.push_back(std::move(solution));
    }
  }
  return seeds;
}

Result<std::vector<Solution>> usual_seeds(const SeedSearch& search) {
  const HouseSolutions house = FIB_TRY(
      HouseSolutions::read(search.context.home.solutions(), std::string(search.runner.target())));
  std::vector<Solution> seeds;
  if (const auto fitting = house.for_signature(*search.signature)) {
    for (const Solution* solution : *fitting) seeds.push_back(*solution);
  } else if (fitting.error().code != ErrorCode::kNotFound) {
    return fail(fitting.error());
  }
  for (const BoardRow& row : FIB_TRY(search.store.board(search.signature->name))) {
    if (row.hardware != search.hardware || row.rank != 1) continue;
    seeds.push_back(FIB_TRY(search.store.solution(row.solution_key)));
    break;
  }
  std::erase_if(seeds, [&](const Solution& it) { return refusal(search, it).has_value(); });
  return seeds;
}

}  // namespace

Result<std::vector<Solution>> find_seeds(const SeedSearch& search) {
  std::vector<Solution> found =
      FIB_TRY(search.asked.empty() ? usual_seeds(search) : asked_seeds(search));
  std::vector<Solution> seeds;
  std::vector<std::string> keys;
  for (Solution& solution : found) {
    const std::string key = solution_key(solution);
    if (std::ranges::find(keys, key) != keys.end()) continue;
    keys.push_back(key);
    seeds.push_back(std::move(solution));
  }
  if (!seeds.empty()) return seeds;
  return fail(ErrorCode::kNotFound,
              fmt::format("there is nothing to begin with: no solution of {} for target '{}'",
                          search.signature->name, search.runner.target()),
              "--seeds",
              fmt::format("'fib solution new mine --signature {} --target {}' writes one",
                          search.signature->name, search.runner.target()));
}

}  // namespace fib
