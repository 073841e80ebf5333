// The design spaces that the house's solutions declare.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "signatures/catalog.h"
#include "signatures/design_space.h"
#include "signatures/solution_folder.h"

namespace fib {
namespace {

std::vector<Solution> house_solutions() {
  std::vector<Solution> solutions;
  const std::filesystem::path root = FIB_SOURCE_DIR "/leaderboard/solutions";
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    if (entry.path().filename() != "solution.json") continue;
    auto solution = read_solution_folder(entry.path().parent_path());
    EXPECT_TRUE(solution) << solution.error().to_string();
    if (solution) solutions.push_back(*std::move(solution));
  }
  return solutions;
}

// How many configurations the constraints admit.
int64_t admitted(const DesignSpace& space, const Signature& signature) {
  Configuration configuration;
  for (const Tunable& tunable : space.tunables) configuration.push_back(tunable.values[0]);
  std::vector<size_t> at(configuration.size());
  int64_t count = 0;
  for (size_t i = 0; i < at.size();) {  // an odometer
    if (i == 0) count += admits(space, configuration, signature).value();
    at[i] = (at[i] + 1) % space.tunables[i].values.size();
    configuration[i] = space.tunables[i].values[at[i]];
    i = at[i] == 0 ? i + 1 : 0;
  }
  return count;
}

TEST(HouseSpaces, AdmitWhatTheSolutionsAreAndRoomToSearch) {
  const auto catalog = Catalog::builtin(FIB_SOURCE_DIR "/signatures/definitions");
  ASSERT_TRUE(catalog) << catalog.error().to_string();
  std::vector<std::string> open;
  for (const Solution& solution : house_solutions()) {
    SCOPED_TRACE(solution.where);
    const auto space = design_space_of(solution);
    ASSERT_TRUE(space) << space.error().to_string();
    if (space->empty()) continue;
    open.push_back(solution.name);
    const Configuration own = configuration_of(solution, *space).value();
    for (const SignaturePtr& signature : catalog->all()) {
      if (!solution_fits(solution, *signature)) continue;
      SCOPED_TRACE(signature->name);
      const auto is_admitted = admits(*space, own, *signature);
      ASSERT_TRUE(is_admitted) << is_admitted.error().to_string();
      EXPECT_TRUE(*is_admitted);
      const int64_t count = admitted(*space, *signature);
      EXPECT_GE(count, 30);
      EXPECT_LE(count, 500);
    }
  }
  std::sort(open.begin(), open.end());
  EXPECT_EQ(open, (std::vector<std::string>{"gqa-decode-split", "gqa-decode-split-last-page",
                                            "moe-int4-grouped"}));
}

}  // namespace
}  // namespace fib
