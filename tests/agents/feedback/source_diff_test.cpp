#include "agents/feedback/source_diff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "agents/text.h"

namespace fib::agents {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(SourceDiff, QuotesWhatChangedWithTheLinesAround) {
  const auto diffs = diff_sources({{"k.cu", "a\nb\nc\nd\ne\nf\ng\n"}, {"same.h", "x\n"}},
                                  {{"k.cu", "a\nb\nc\nD\nnew\ne\nf\ng\n"}, {"same.h", "x\n"}});
  ASSERT_THAT(diffs, SizeIs(1));
  EXPECT_EQ(diffs[0].path, "k.cu");
  EXPECT_EQ(diffs[0].added, 2);
  EXPECT_EQ(diffs[0].removed, 1);
  EXPECT_EQ(diffs[0].hunks, "@@ -2 +2 @@\n b\n c\n-d\n+D\n+new\n e\n f\n");
}

TEST(SourceDiff, FilesComeAndGo) {
  const auto diffs = diff_sources({{"old.h", "1\n2\n"}}, {{"new.h", "3\n"}});
  ASSERT_THAT(diffs, SizeIs(2));
  EXPECT_EQ(diffs[0].path, "new.h");
  EXPECT_EQ(diffs[0].hunks, "@@ -1 +1 @@\n+3\n");
  EXPECT_EQ(diffs[1].path, "old.h");
  EXPECT_EQ(diffs[1].removed, 2);
  EXPECT_THAT(diff_sources({{"a", "1"}}, {{"a", "1"}}), IsEmpty());
}

// Whatever the edits: the kept and removed lines are the old file, the kept and added the new one.
// Texts this short are within the context, so that the hunks hold all of them.
TEST(SourceDiff, LeadsFromOneTextToTheOther) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::string before, after;
    for (int i = 0; i < 12; ++i) {
      if (random() % 4 != 0) before += std::string(1, 'a' + random() % 4) + "\n";
      if (random() % 4 != 0) after += std::string(1, 'a' + random() % 4) + "\n";
    }
    if (before == after) continue;
    const auto diffs = diff_sources({{"f", "=\n=\n" + before}}, {{"f", "=\n=\n" + after}});
    ASSERT_THAT(diffs, SizeIs(1));
    int64_t added = 0, removed = 0;
    for (const std::string_view line : lines_of(diffs[0].hunks)) {
      added += line.starts_with('+');
      removed += line.starts_with('-');
    }
    EXPECT_EQ(added, diffs[0].added);
    EXPECT_EQ(removed, diffs[0].removed);
    const auto count = [](const std::string& text) {
      return static_cast<int64_t>(lines_of(text).size());
    };
    EXPECT_EQ(count(before) + added - removed, count(after));
  }
}

TEST(SourceDiff, OfFilesWrittenAnewIsStillCounted) {
  std::string before, after;
  for (int i = 0; i < 3000; ++i) {
    before += "old " + std::to_string(i) + "\n";
    after += "new " + std::to_string(i) + "\n";
  }
  const auto diffs = diff_sources({{"f", before}}, {{"f", after}});
  ASSERT_THAT(diffs, SizeIs(1));
  EXPECT_EQ(diffs[0].added, 3000);
  EXPECT_EQ(diffs[0].removed, 3000);
}

}  // namespace
}  // namespace fib::agents
