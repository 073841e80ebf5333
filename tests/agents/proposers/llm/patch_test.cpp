#include "agents/proposers/llm/patch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agents/text.h"

namespace fib::agents {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::string_view kFile = "one\ntwo\nthree\ntwo\n  four\nfive\n";

Result<std::string> patched(std::string_view patch, std::string_view file = kFile) {
  const std::vector<Edit> edits = FIB_TRY(parse_edits(lines_of(patch), 10));
  return apply_edits(file, edits, "a.cpp");
}

std::string complaint(std::string_view patch, std::string_view file = kFile) {
  const auto result = patched(patch, file);
  if (result) return "taken: " + *result;
  EXPECT_EQ(result.error().code, ErrorCode::kInvalidInput);
  return result.error().to_string();
}

TEST(Patch, ReplacesLinesWhereverTheEditsStand) {
  EXPECT_EQ(patched("<<<<<<< SEARCH\nfive\n=======\n5\n6\n>>>>>>> REPLACE\n"
                    "\n"
                    "<<<<<<< SEARCH\nthree\ntwo\n=======\n3\n>>>>>>> REPLACE")
                .value(),
            "one\ntwo\n3\n  four\n5\n6\n");
}

TEST(Patch, TakesLinesAway) {
  EXPECT_EQ(patched("<<<<<<< SEARCH\none\n=======\n>>>>>>> REPLACE").value(),
            "two\nthree\ntwo\n  four\nfive\n");
}

TEST(Patch, NeighboursDoNotOverlap) {
  EXPECT_EQ(patched("<<<<<<< SEARCH\none\n=======\n1\n>>>>>>> REPLACE\n"
                    "<<<<<<< SEARCH\ntwo\nthree\n=======\n2\n3\n>>>>>>> REPLACE")
                .value(),
            "1\n2\n3\ntwo\n  four\nfive\n");
}

TEST(Patch, AFileWithoutALastNewlineGetsOne) {
  EXPECT_EQ(patched("<<<<<<< SEARCH\nb\n=======\nc\n>>>>>>> REPLACE", "a\nb").value(), "a\nc\n");
}

TEST(Patch, SaysWhereTheTextAlmostIs) {
  EXPECT_THAT(complaint("<<<<<<< SEARCH\nthree\nfour\n=======\nx\n>>>>>>> REPLACE"),
              AllOf(HasSubstr("line 10"), HasSubstr("isn't in a.cpp"),
                    HasSubstr("its first 1 line stands at line 3 of the file, but then the file "
                              "has 'two' where the search text has 'four'")));
  EXPECT_THAT(complaint("<<<<<<< SEARCH\nfour\n=======\nx\n>>>>>>> REPLACE"),
              HasSubstr("no line of the file is 'four'"));
  EXPECT_THAT(complaint("<<<<<<< SEARCH\nfive\nsix\n=======\nx\n>>>>>>> REPLACE"),
              HasSubstr("the file ends"));
  EXPECT_THAT(complaint("<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE", ""),
              HasSubstr("no line of the file is 'x'"));
}

TEST(Patch, SaysWhereAmbiguousTextIs) {
  EXPECT_THAT(complaint("<<<<<<< SEARCH\ntwo\n=======\nx\n>>>>>>> REPLACE"),
              HasSubstr("2 times, at the lines 2, 4"));
  EXPECT_THAT(
      complaint("<<<<<<< SEARCH\na\n=======\nx\n>>>>>>> REPLACE", "a\na\na\na\na\na\na\na\na\na\n"),
      HasSubstr("10 times, at the lines 1, 2, 3, 4, 5, 6, 7, 8, ..."));
}

TEST(Patch, RefusesEditsThatOverlap) {
  EXPECT_THAT(complaint("<<<<<<< SEARCH\nthree\ntwo\n=======\nx\n>>>>>>> REPLACE\n"
                        "<<<<<<< SEARCH\ntwo\n  four\n=======\ny\n>>>>>>> REPLACE"),
              AllOf(HasSubstr("overlap at line 4"), HasSubstr("line 16")));
}

TEST(Patch, NamesWhatAMarkLacks) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"", "no edit"},
      {"\n  \n", "no edit"},
      {"one\n", "'one' stands outside an edit"},
      {"=======\n", "stands outside an edit"},
      {"<<<<<<< SEARCH\none\n", "has no '======='"},
      {"<<<<<<< SEARCH\none\n=======\ntwo\n", "has no '>>>>>>> REPLACE'"},
      {"<<<<<<< SEARCH\none\n>>>>>>> REPLACE\n", "where '=======' is due"},
      {"<<<<<<< SEARCH\n<<<<<<< SEARCH\n", "where '=======' is due"},
      {"<<<<<<< SEARCH\none\n=======\n=======\n", "where '>>>>>>> REPLACE' is due"},
      {"<<<<<<< SEARCH\none\n=======\n<<<<<<< SEARCH\n", "where '>>>>>>> REPLACE' is due"},
      {"<<<<<<< SEARCH\n=======\nx\n>>>>>>> REPLACE\n", "the search text is empty"},
      {"<<<<<<<SEARCH\none\n=======\n", "'<<<<<<<SEARCH' stands outside an edit"},
  };
  for (const auto& [patch, expected] : cases) {
    EXPECT_THAT(complaint(patch), HasSubstr(std::string(expected))) << patch;
  }
  EXPECT_THAT(complaint("<<<<<<< SEARCH\none\n=======\n1\n>>>>>>> REPLACE\nmore"),
              HasSubstr("line 15"));
}

}  // namespace
}  // namespace fib::agents
