#include "integrations/serving/http/stop_matcher.h"

#include <gtest/gtest.h>

#include <random>

namespace fib {
namespace {

TEST(StopMatcher, LetsTextThroughThatNoStopStringBeginsIn) {
  StopMatcher matcher({"END"});
  EXPECT_EQ(matcher.push("hello "), "hello ");
  EXPECT_FALSE(matcher.holds_text());
  EXPECT_EQ(matcher.push("world"), "world");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcher, WithoutStopStringsHoldsNothing) {
  StopMatcher matcher({});
  EXPECT_EQ(matcher.push("anything"), "anything");
}

TEST(StopMatcher, HoldsBackWhatMayBeginAStopString) {
  StopMatcher matcher({"\n\nUser:"});
  EXPECT_EQ(matcher.push("yes\n"), "yes");
  EXPECT_TRUE(matcher.holds_text());
  EXPECT_EQ(matcher.push("\nUs"), "");
  EXPECT_EQ(matcher.push("e it"), "\n\nUse it");
  EXPECT_FALSE(matcher.has_matched());
}

TEST(StopMatcher, EndsTheTextWhereTheStopStringBegins) {
  StopMatcher matcher({"STOP"});
  EXPECT_EQ(matcher.push("a ST"), "a ");
  EXPECT_EQ(matcher.push("OP b"), "");
  EXPECT_TRUE(matcher.has_matched());
  EXPECT_EQ(matcher.push("more"), "");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcher, GivesBackWhatItHeldWhenTheTextEnds) {
  StopMatcher matcher({"STOP"});
  EXPECT_EQ(matcher.push("a STO"), "a ");
  EXPECT_EQ(matcher.finish(), "STO");
}

TEST(StopMatcher, TheStopStringThatIsCompleteFirstWins) {
  StopMatcher matcher({"abcd", "c"});
  EXPECT_EQ(matcher.push("xabcd"), "xab");
}

TEST(StopMatcher, OfTwoThatAreCompleteAtOnceTheLongerWins) {
  StopMatcher matcher({"lo", "hello"});
  EXPECT_EQ(matcher.push("oh hello"), "oh ");
}

// Whatever the pieces, the text that gets out is the same, and nothing gets out too late.
TEST(StopMatcher, TheBordersOfThePiecesDoNotMatter) {
  std::mt19937 random(20240607);
  const auto word = [&](size_t longest) {
    std::string text(1 + random() % longest, 'a');
    for (char& c : text) c = static_cast<char>('a' + random() % 2);
    return text;
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> stops;
    for (size_t i = 0; i <= random() % 3; ++i) stops.push_back(word(5));
    const std::string text = word(24);

    StopMatcher whole(stops);
    std::string expected = whole.push(text);
    expected += whole.finish();

    StopMatcher pieces(stops);
    std::string got;
    for (size_t at = 0; at < text.size();) {
      const size_t size = 1 + random() % 4;
      got += pieces.push(text.substr(at, size));
      at += size;
    }
    got += pieces.finish();
    ASSERT_EQ(got, expected) << "round " << round << ", text " << text;
    ASSERT_EQ(pieces.has_matched(), whole.has_matched());
    for (const std::string& stop : stops) ASSERT_EQ(got.find(stop), std::string::npos);
  }
}

}  // namespace
}  // namespace fib
