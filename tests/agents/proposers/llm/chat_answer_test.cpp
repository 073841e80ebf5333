#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agents/proposers/llm/chat.h"

namespace fib::agents {
namespace {

using ::testing::HasSubstr;

ChatAnswer read(std::string_view body) {
  const auto answer = read_chat_answer(body, 400);
  EXPECT_TRUE(answer) << body;
  return answer.value_or(ChatAnswer{});
}

TEST(ChatAnswer, HasTextUsageAndTheReasonOfItsEnd) {
  const ChatAnswer answer = read(R"({"choices": [{"message": {"content": "hi"},
      "finish_reason": "length"}], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})");
  EXPECT_EQ(answer.text, "hi");
  EXPECT_TRUE(answer.is_cut_off);
  EXPECT_EQ(answer.usage.prompt_tokens, 7);
  EXPECT_EQ(answer.usage.answer_tokens, 3);
  EXPECT_EQ(answer.usage.source, TokenUsage::Source::kCounted);
}

TEST(ChatAnswer, UsageThatCannotBeIsEstimated) {
  for (const char* usage : {"null", "{}", R"({"prompt_tokens": 7})", "[]",
                            R"({"prompt_tokens": -1, "completion_tokens": 3})",
                            R"({"prompt_tokens": 1e3, "completion_tokens": "3"})",
                            R"({"prompt_tokens": 99999999999999, "completion_tokens": 3})"}) {
    const ChatAnswer answer = read(std::string(R"({"choices": [{"message": {"content":
        "12345"}}], "usage": )") + usage +
                                   "}");
    EXPECT_EQ(answer.usage.source, TokenUsage::Source::kEstimated) << usage;
    EXPECT_EQ(answer.usage.prompt_tokens, 100) << usage;
    EXPECT_EQ(answer.usage.answer_tokens, 2) << usage;
  }
}

TEST(ChatAnswer, ContentMayBePartsOrNothing) {
  EXPECT_EQ(read(R"({"choices": [{"message": {"content": [{"type": "text", "text": "a"},
      {"type": "image"}, {"type": "text", "text": "b"}]}}]})")
                .text,
            "ab");
  const ChatAnswer declined =
      read(R"({"choices": [{"message": {"content": null, "refusal": "no"}}]})");
  EXPECT_EQ(declined.text, "");
  EXPECT_EQ(declined.declined, "no");
}

TEST(ChatAnswer, OtherShapesAreRefused) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"", "isn't JSON"},
      {"<html>\nBad gateway", "isn't JSON: <html> Bad gateway"},
      {R"({"choices": [)", "isn't JSON"},
      {"[]", "no choices"},
      {R"({"choices": []})", "no choices"},
      {R"({"choices": [{"text": "x"}]})", "without a message"},
      {R"({"error": {"message": "overloaded"}})", "no choices: overloaded"},
  };
  for (const auto& [body, expected] : cases) {
    const auto answer = read_chat_answer(body, 0);
    ASSERT_FALSE(answer) << body;
    EXPECT_THAT(answer.error().message, HasSubstr(std::string(expected))) << body;
  }
}

TEST(ChatAnswer, TroubleIsFoundWhereServersPutIt) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {R"({"error": {"message": "a\nb", "code": "x"}})", "a b"},
      {R"({"error": "a b"})", "a b"},
      {R"({"detail": "a b"})", "a b"},
      {R"({"object": "error", "message": "a b"})", "a b"},
      {"a b", "a b"},
      {R"({"x":1})", R"({"x":1})"},
      {"", "no explanation"},
      {"\xff", "\xef\xbf\xbd"},
  };
  for (const auto& [body, expected] : cases) EXPECT_EQ(read_chat_trouble(body).message, expected);
  EXPECT_EQ(read_chat_trouble(cases[0].first).code, "x");
  EXPECT_LE(read_chat_trouble(std::string(1 << 20, 'x')).message.size(), 310u);
}

}  // namespace
}  // namespace fib::agents
