#include "workloads/workload_set.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "signatures/problem.h"
#include "tests/scratch_folder.h"
#include "workloads/inputs.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

fs::path definitions() { return fs::path(FIB_SOURCE_DIR) / "signatures/definitions"; }
fs::path captured() { return fs::path(FIB_SOURCE_DIR) / "workloads/captured"; }

void write_file(const fs::path& file, std::string_view text) {
  fs::create_directories(file.parent_path());
  std::ofstream(file) << text;
}

std::string row(const std::string& definition, const std::string& uuid,
                const std::string& solution = "null") {
  return R"({"definition":")" + definition + R"(","solution":)" + solution +
         R"(,"workload":{"uuid":")" + uuid + R"(","axes":{"M":1},"inputs":{}},"evaluation":null})" +
         "\n";
}

TEST(ReadWorkloads, ADatasetFolderOfAnyNesting) {
  const ScratchFolder folder;
  write_file(folder / "workloads/gemm/deep/a.jsonl", row("a", "1") + row("a", "2"));
  write_file(folder / "workloads/b.jsonl", row("b", "3"));
  write_file(folder / "traces/me/a.jsonl", row("a", "4") + row("a", "2"));
  write_file(folder / "workloads/notes.txt", "not a trace");

  const auto all = read_workloads(folder.path());
  ASSERT_TRUE(all) << all.error().to_string();
  ASSERT_EQ(all->size(), 2u);
  const auto only_a = read_workloads(folder.path(), "a");
  ASSERT_TRUE(only_a);
  ASSERT_EQ(only_a->size(), 1u);
  std::vector<std::string> ids;
  for (const Workload& workload : only_a->front().workloads) ids.push_back(workload.uuid);
  EXPECT_EQ(ids, (std::vector<std::string>{"1", "2", "4"})) << "each once";
  EXPECT_EQ(only_a->front().workloads[0].root, folder.path());
}

TEST(ReadWorkloads, AFileFindsItsDataset) {
  const ScratchFolder folder;
  fs::create_directories(folder / "blob");
  write_file(folder / "traces/workloads/a.workload.jsonl", row("a", "1") + row("b", "2"));
  const auto sets = read_workloads(folder / "traces/workloads/a.workload.jsonl", "b");
  ASSERT_TRUE(sets) << sets.error().to_string();
  ASSERT_EQ(sets->size(), 1u);
  EXPECT_EQ(sets->front().signature, "b");
  EXPECT_EQ(sets->front().workloads[0].root, folder.path());
}

TEST(ReadWorkloads, NothingThereIsAnError) {
  const ScratchFolder folder;
  const auto missing = read_workloads(folder / "nowhere");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_NE(missing.error().to_string().find("nowhere"), std::string::npos);
  const auto empty = read_workloads(folder.path(), "rmsnorm_h1");
  ASSERT_FALSE(empty);
  EXPECT_NE(empty.error().to_string().find("no workloads of rmsnorm_h1"), std::string::npos);
}

TEST(ReadWorkloads, ABadLineIsNamed) {
  const ScratchFolder folder;
  write_file(folder / "a.jsonl", row("a", "1") + "{\"definition\": \n");
  const auto sets = read_workloads(folder / "a.jsonl");
  ASSERT_FALSE(sets);
  EXPECT_NE(sets.error().to_string().find("a.jsonl:2"), std::string::npos)
      << sets.error().to_string();
}

TEST(BuiltinWorkloads, TheSignaturesOwnFileBeforeTheFamilys) {
  const Catalog catalog = *Catalog::builtin(definitions());
  const auto family = builtin_workloads(captured(), **catalog.find("rmsnorm_h4096"));
  ASSERT_TRUE(family) << family.error().to_string();
  EXPECT_EQ(family->front().uuid, "rmsnorm-b1");
  const auto own = builtin_workloads(captured(), **catalog.find("rmsnorm_h256"));
  ASSERT_TRUE(own) << own.error().to_string();
  EXPECT_NE(own->front().where.find("rmsnorm_h256.jsonl:1"), std::string::npos);
  const auto none = builtin_workloads("no/such/folder", **catalog.find("rmsnorm_h256"));
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().to_string().find("rmsnorm_h256"), std::string::npos);
}

// Whatever is built in binds, plans and has unique ids.
TEST(BuiltinWorkloads, AllArePlanned) {
  const Catalog catalog = *Catalog::builtin(definitions());
  for (const SignaturePtr& signature : catalog.all()) {
    const auto workloads = builtin_workloads(captured(), *signature);
    ASSERT_TRUE(workloads) << workloads.error().to_string();
    std::set<std::string> ids;
    for (const Workload& workload : *workloads) {
      EXPECT_TRUE(ids.insert(workload_id(workload)).second) << workload_id(workload);
      EXPECT_GT(workload.weight, 0.0);
      const auto problem = fib::bind(signature, workload);
      ASSERT_TRUE(problem) << problem.error().to_string();
      const auto plan = plan_inputs(*problem);
      ASSERT_TRUE(plan) << plan.error().to_string();
      EXPECT_TRUE(plan->notes.empty()) << plan->notes.front();
    }
  }
}

}  // namespace
}  // namespace fib
