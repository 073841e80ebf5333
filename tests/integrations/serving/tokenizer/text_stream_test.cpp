#include "integrations/serving/tokenizer/text_stream.h"

#include <gtest/gtest.h>

#include "tests/integrations/serving/tokenizer/tiny_tokenizer.h"

namespace fib {
namespace {

std::string take(std::string bytes, TextEnd end) { return take_characters(bytes, end); }

TEST(TakeCharacters, HoldsBackWhatMayStillBecomeOne) {
  std::string bytes = "a\xf0\x9f\x98";
  EXPECT_EQ(take_characters(bytes, TextEnd::kOpen), "a");
  EXPECT_EQ(bytes, "\xf0\x9f\x98");
  bytes += "\x80!";
  EXPECT_EQ(take_characters(bytes, TextEnd::kOpen), "\U0001f600!");
  EXPECT_EQ(bytes, "");
}

// One U+FFFD for each longest beginning of a character, as Unicode's table 3-11 has it.
TEST(TakeCharacters, ReplacesWhatCannotBecomeOne) {
  const std::string bad = "\uFFFD";
  EXPECT_EQ(take("\xff", TextEnd::kOpen), bad);
  EXPECT_EQ(take("\x80x", TextEnd::kOpen), bad + "x");
  EXPECT_EQ(take("\xc3", TextEnd::kClosed), bad);
  EXPECT_EQ(take("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf"
                 "A",
                 TextEnd::kOpen),
            bad + bad + bad + bad + "A");
  EXPECT_EQ(take("\xe0\x80"
                 "A",
                 TextEnd::kOpen),
            bad + bad + "A");
  EXPECT_EQ(take("\xed\xa0\x80", TextEnd::kOpen), bad + bad + bad);
  EXPECT_EQ(take("\xf4\x91\x92\x93", TextEnd::kOpen), bad + bad + bad + bad);
  EXPECT_EQ(take("\xed\x9f", TextEnd::kOpen), "");
  EXPECT_EQ(take("\xf4\x8f\xbf", TextEnd::kOpen), "");
}

TEST(TextStream, GivesCharactersOnceTheyAreWhole) {
  auto tokenizer = TinyFolder().open();
  ASSERT_TRUE(tokenizer);
  TextStream stream(*tokenizer);  // tokens 0..255 are bytes
  EXPECT_EQ(stream.push('h'), "h");
  EXPECT_EQ(stream.push(0xe4), "");
  EXPECT_EQ(stream.push(0xb8), "");
  EXPECT_EQ(stream.push(300), "");  // a special token has no text
  EXPECT_EQ(stream.push(0xad), "\u4e2d");
  EXPECT_EQ(stream.push(0xe4), "");
  EXPECT_EQ(stream.push('x'), "\uFFFDx");
  EXPECT_EQ(stream.push(0xe4), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
  EXPECT_EQ(stream.finish(), "");
}

TEST(TextStream, IsWhatDecodingSaysForEveryCut) {
  auto tokenizer = TinyFolder().open();
  ASSERT_TRUE(tokenizer);
  const std::vector<TokenId> tokens = {0xf0, 0x9f, 0x98, 0x80, 258, 0xc3,
                                       0xc3, 0xa9, 0x80, 0xf0, 0x90};
  for (size_t count = 0; count <= tokens.size(); ++count) {
    const std::vector<TokenId> some(tokens.begin(), tokens.begin() + static_cast<long>(count));
    TextStream stream(*tokenizer);
    std::string text;
    for (const TokenId token : some) text += stream.push(token);
    EXPECT_EQ(text + stream.finish(), tokenizer->decode(some));
  }
}

}  // namespace
}  // namespace fib
