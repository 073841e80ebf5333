#include "agents/skeleton.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "signatures/catalog.h"

namespace fib {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

SignaturePtr rmsnorm() {
  const auto catalog = Catalog::builtin(FIB_SOURCE_DIR "/signatures/definitions");
  return catalog->find("rmsnorm_h64").value();
}

std::string content_of(const std::vector<SourceFile>& files, const std::string& path) {
  const auto file = std::ranges::find(files, path, &SourceFile::path);
  return file == files.end() ? "" : file->content;
}

TEST(Skeleton, ComesWithItsManifestSignedAndAGuide) {
  for (const char* target : {"cpu", "cuda"}) {
    const auto files =
        make_skeleton(*rmsnorm(), {.target = target, .name = "mine", .author = "someone"});
    ASSERT_TRUE(files) << files.error().to_string();
    EXPECT_THAT(content_of(*files, "solution.json"),
                AllOf(HasSubstr("\"mine\""), HasSubstr("\"someone\""), HasSubstr(target)));
    EXPECT_THAT(
        content_of(*files, "AGENTS.md"),
        AllOf(HasSubstr("# mine"), HasSubstr("rmsnorm_h64"), HasSubstr("fib submit"),
              HasSubstr("fib profile"), HasSubstr("fib compare"),
              HasSubstr("honest implementation's"), HasSubstr("`eps`"), Not(HasSubstr("{"))));
  }
}

TEST(Skeleton, SaysWhatItsTargetForbids) {
  const auto guide = [](const char* target) {
    const auto files =
        make_skeleton(*rmsnorm(), {.target = target, .name = "mine", .author = "me"});
    return content_of(files.value(), "AGENTS.md");
  };
  EXPECT_THAT(guide("cpu"), AllOf(HasSubstr("fib_run"), Not(HasSubstr("plan.cpp"))));
  EXPECT_THAT(guide("cuda"), AllOf(HasSubstr("plan.cpp"), Not(HasSubstr("fib_run"))));
}

TEST(Skeleton, RefusesANameThatIsNoFileName) {
  const auto files = make_skeleton(*rmsnorm(), {.target = "cpu", .name = "../x", .author = "me"});
  ASSERT_FALSE(files);
  EXPECT_THAT(files.error().message, HasSubstr("can't be a file name"));
}

}  // namespace
}  // namespace fib
