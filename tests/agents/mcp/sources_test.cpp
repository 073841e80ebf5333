#include "agents/mcp/sources.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "signatures/base/file.h"
#include "tests/scratch_folder.h"

namespace fib::mcp {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kManifest = R"({"name": "mine", "signature": "rmsnorm", "author": "me",
    "target": "cpu", "entry": "a.cpp", "sources": ["a.cpp"]})";

// Knows one solution, by the name "known".
class OneSolution : public Workbench {
 public:
  const Catalog& catalog() const override { return catalog_; }
  Result<Solution> find_solution(const std::string& name) override {
    if (name != "known") return fail(ErrorCode::kNotFound, "there is no such solution", name);
    return Solution{.name = name};
  }
  Result<std::vector<BuildReport>> check(const Solution&, const std::string&) override {
    return std::vector<BuildReport>{};
  }
  Result<EvaluationReport> evaluate(const EvaluationRequest&, const ToolCall&) override {
    return EvaluationReport{};
  }
  Result<ProfileReport> profile(const ProfileRequest&, const ToolCall&) override {
    return ProfileReport{};
  }
  Result<std::vector<BoardRow>> board(const std::string&) override {
    return std::vector<BoardRow>{};
  }
  Result<Verdict> verdict(int64_t) override { return Verdict{}; }

 private:
  Catalog catalog_;
};

class McpSources : public ::testing::Test {
 protected:
  std::string trouble_with(const Json& arguments) {
    const auto solution = read_candidate(arguments, folders_, workbench_);
    return solution ? "" : solution.error().to_string();
  }

  ScratchFolder scratch_;
  Folders folders_{.root = scratch_ / "root", .scratch = scratch_ / "scratch"};
  OneSolution workbench_;
};

TEST_F(McpSources, ReadsFilesAndLeavesNothingBehind) {
  const auto solution = read_candidate(
      {{"files", {{"solution.json", kManifest}, {"a.cpp", "int x;"}}}}, folders_, workbench_);
  ASSERT_TRUE(solution) << solution.error().to_string();
  EXPECT_EQ(solution->name, "mine");
  EXPECT_EQ(solution->sources.at(0).content, "int x;");
  EXPECT_TRUE(std::filesystem::is_empty(folders_.scratch));
}

TEST_F(McpSources, NamesFilesAsTheClientDoes) {
  const std::string trouble = trouble_with({{"files", {{"solution.json", kManifest}}}});
  EXPECT_THAT(trouble, HasSubstr("a.cpp"));
  EXPECT_THAT(trouble, Not(HasSubstr(scratch_.path().string())));
}

TEST_F(McpSources, RefusesPathsThatLeaveTheFolder) {
  for (const char* path : {"../x", "/etc/x", "a/../../x"}) {
    EXPECT_THAT(trouble_with({{"files", {{path, ""}}}}), HasSubstr("leaves the folder")) << path;
    EXPECT_THAT(trouble_with({{"folder", path}}), HasSubstr("leaves the root")) << path;
  }
}

TEST_F(McpSources, ReadsFoldersBelowTheRootOnly) {
  std::filesystem::create_directories(folders_.root / "mine");
  std::filesystem::create_directories(scratch_ / "other");
  std::filesystem::create_directory_symlink(scratch_ / "other", folders_.root / "link");
  for (const auto& folder : {folders_.root / "mine", scratch_ / "other"}) {
    ASSERT_TRUE(write_file_atomically(folder / "solution.json", kManifest));
    ASSERT_TRUE(write_file_atomically(folder / "a.cpp", "int x;"));
  }
  EXPECT_EQ(trouble_with({{"folder", "mine"}}), "");
  EXPECT_THAT(trouble_with({{"folder", "link"}}), HasSubstr("leads out of the root"));
  EXPECT_NE(trouble_with({{"folder", "nowhere"}}), "");
  folders_.root.clear();
  EXPECT_THAT(trouble_with({{"folder", "mine"}}), HasSubstr("without --root"));
}

TEST_F(McpSources, WantsOneWayOfSayingIt) {
  EXPECT_EQ(trouble_with({{"solution", "known"}}), "");
  EXPECT_THAT(trouble_with({{"solution", "unknown"}}), HasSubstr("no such solution"));
  EXPECT_THAT(trouble_with(Json::object()), HasSubstr("give one of them"));
  EXPECT_THAT(trouble_with({{"solution", "known"}, {"folder", "mine"}}),
              HasSubstr("give one of them"));
}

}  // namespace
}  // namespace fib::mcp
