#include "integrations/cli/contenders.h"

#include <fmt/format.h>

#include "integrations/cli/solution_files.h"
#include "integrations/package/house_solutions.h"
#include "leaderboard/store.h"
#include "signatures/solution_folder.h"

namespace fib {

namespace {

constexpr const char* kRemedy =
    "a folder, a name or key in the store, a house solution, 'house' or 'best'";

Result<Solution> house_incumbent(const IncumbentSearch& search, const Solution& candidate,
                                 const Signature& signature) {
  const HouseSolutions house = FIB_TRY(
      HouseSolutions::read(search.context.home.solutions(), std::string(search.runner.target())));
  const std::string own_key = solution_key(candidate);
  for (const Solution* solution : FIB_TRY(house.for_signature(signature))) {
    if (solution_key(*solution) != own_key && search.runner.supports(*solution, signature).ok) {
      return *solution;
    }
  }
  return fail(ErrorCode::kNotFound,
              fmt::format("the house has no solution for {} other than '{}'", signature.name,
                          candidate.name),
              "house", "name another incumbent");
}

// The leader of the board that was measured as now, else of any on this hardware.
Result<std::optional<std::string>> leader_key(const IncumbentSearch& search, const Store& store,
                                              const Solution& candidate,
                                              const Signature& signature) {
  const std::string own_key = solution_key(candidate);
  const std::string config_key = search.options.config_key(signature);
  std::optional<std::string> other_board;
  for (const BoardRow& row : FIB_TRY(store.board(signature.name))) {
    if (row.hardware != search.hardware || row.rank == 0 || row.solution_key == own_key) continue;
    if (row.config_key == config_key) return row.solution_key;
    if (!other_board) other_board = row.solution_key;
  }
  return other_board;
}

}  // namespace

Result<Solution> find_solution(const Context& context, const std::string& who) {
  if (std::filesystem::exists(who)) return read_solution(who);
  return find_known_solution(context, who);
}

Result<Solution> find_known_solution(const Context& context, const std::string& who) {
  if (std::filesystem::exists(context.store_file)) {  // looking makes no file
    const auto store = FIB_TRY(Store::open(context.store_file));
    auto stored = store->solution(who);
    if (stored || stored.error().code != ErrorCode::kNotFound) return stored;
  }
  for (Solution& solution : FIB_TRY(read_solutions_below(context.home.solutions()))) {
    if (solution.name == who) return std::move(solution);
  }
  return fail(ErrorCode::kNotFound, "there is no such solution", who, kRemedy);
}

Result<Solution> find_incumbent(const IncumbentSearch& search, const Solution& candidate,
                                const Signature& signature) {
  if (search.who == kHouse) return house_incumbent(search, candidate, signature);
  if (search.who == kBest) {
    if (std::filesystem::exists(search.context.store_file)) {
      const auto store = FIB_TRY(Store::open(search.context.store_file));
      if (const auto key = FIB_TRY(leader_key(search, *store, candidate, signature))) {
        return store->solution(*key);
      }
    }
    return house_incumbent(search, candidate, signature);
  }
  Solution solution = FIB_TRY(find_solution(search.context, search.who));
  if (!solution_fits(solution, signature)) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("the incumbent '{}' is for {}, not for {}", solution.name,
                            solution.definition, signature.name),
                search.who, "name one that is, or 'house'");
  }
  const SolutionManifest manifest = FIB_TRY(manifest_of(solution));
  if (manifest.target != search.runner.target()) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("the incumbent '{}' is written for target '{}', not for '{}'",
                            solution.name, manifest.target, search.runner.target()),
                search.who, "name one of the same target, or 'house'");
  }
  if (const Support support = search.runner.supports(solution, signature); !support.ok) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("the incumbent '{}' can't run: {}", solution.name, support.reason),
                search.who, support.remedy);
  }
  return solution;
}

void find_incumbents(const IncumbentSearch& search, std::vector<EvaluationJob>& jobs,
                     std::vector<Error>& errors) {
  std::erase_if(jobs, [&](EvaluationJob& job) {
    auto incumbent = find_incumbent(search, job.solution, *job.problems.front().signature);
    if (incumbent) {
      job.incumbent = *std::move(incumbent);
    } else {
      errors.push_back(std::move(incumbent).error());
    }
    return !job.incumbent;
  });
}

}  // namespace fib
