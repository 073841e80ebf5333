#include "integrations/serving/tokenizer/pre_tokenizer.h"

#include <gtest/gtest.h>

namespace fib {
namespace {

using Texts = std::vector<std::string>;

// The words of `text` after one Split step.
Texts split(const Json& pattern, const std::string& behavior, bool invert, std::string_view text) {
  const Json json = {
      {"type", "Sequence"},
      {"pretokenizers",
       Json::array(
           {{{"type", "Split"}, {"pattern", pattern}, {"behavior", behavior}, {"invert", invert}},
            {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}})}};
  const auto made = PreTokenizer::read(JsonView(json, "test"));
  EXPECT_TRUE(made) << made.error().to_string();
  Words words{.words = {text}};
  EXPECT_TRUE(made->apply(words));
  return {words.words.begin(), words.words.end()};
}

// Expected words are those of Hugging Face's documentation of the behaviours.
TEST(Split, BehavesAsNamed) {
  const Json dash = {{"String", "-"}};
  const std::string text = "the-final--countdown";
  EXPECT_EQ(split(dash, "Removed", false, text), (Texts{"the", "final", "countdown"}));
  EXPECT_EQ(split(dash, "Isolated", false, text),
            (Texts{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(split(dash, "MergedWithPrevious", false, text),
            (Texts{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(split(dash, "MergedWithNext", false, text),
            (Texts{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(split(dash, "Contiguous", false, text),
            (Texts{"the", "-", "final", "--", "countdown"}));
}

TEST(Split, InvertedKeepsTheMatches) {
  EXPECT_EQ(split({{"Regex", "[a-z]+"}}, "Removed", true, "ab, cd!"), (Texts{"ab", "cd"}));
}

TEST(Split, StringsAreNotPatterns) {
  EXPECT_EQ(split({{"String", "."}}, "Removed", false, "a.bc"), (Texts{"a", "bc"}));
}

TEST(Split, EmptyMatchesCutWithoutTaking) {
  EXPECT_EQ(split({{"Regex", "(?=[A-Z])"}}, "Isolated", false, "camelCaseWord"),
            (Texts{"camel", "Case", "Word"}));
}

TEST(Split, ClassesAreUnicodes) {
  EXPECT_EQ(split({{"Regex", "\\p{L}+|\\p{N}"}}, "Isolated", false, "\u00e9a\u4e2d\u2167!\u0661"),
            (Texts{"\u00e9a\u4e2d", "\u2167", "!", "\u0661"}));
  EXPECT_EQ(split({{"Regex", "\\s+"}}, "Removed", false, "a\u3000\u00a0b"), (Texts{"a", "b"}));
}

TEST(Split, RunawayBacktrackingIsAnError) {
  const auto pattern = Pattern::compile("(?:a|a)*b|(?:.+)+x", Pattern::Syntax::kRegex);
  ASSERT_TRUE(pattern) << pattern.error().to_string();
  const auto found = Pattern::Matcher(*pattern).find_all(std::string(200, 'a'));
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::kInvalidInput);
  EXPECT_NE(found.error().message.find("from byte 0 on"), std::string::npos);
}

}  // namespace
}  // namespace fib
