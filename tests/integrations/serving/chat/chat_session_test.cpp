#include "integrations/serving/chat/chat_session.h"

#include <gtest/gtest.h>

#include <sstream>

#include "tests/integrations/serving/http/byte_model.h"
#include "tests/integrations/serving/http/fake_engine.h"

namespace fib::testing {
namespace {

class Chat : public ::testing::Test {
 protected:
  struct Spoken {
    Result<size_t> result;  // messages without an answer
    std::string out, err;
  };
  Spoken say(const std::string& lines) {
    ChatSession session({.engine = engine_,
                         .tokenizer = model_.tokenizer(),
                         .chat_template = *model_.chat_template()},
                        options_);
    std::istringstream in(lines);
    std::ostringstream out, err;
    Result<size_t> result = session.run(in, out, err);
    return {std::move(result), out.str(), err.str()};
  }

  std::string prompt(size_t request) {
    return model_.tokenizer().decode(engine_.submitted().at(request).prompt);
  }

  static FakeEngineOptions answering(std::string_view text) {
    return {.answer = [text = std::string(text)](const EngineRequest&) {
      return bytes_as_tokens(text);
    }};
  }

  ByteModel model_;
  FakeEngine engine_{answering("Yes, größer.")};
  ChatOptions options_{.sampling = {.max_tokens = 100}, .context_length = 1000};
};

TEST_F(Chat, TheAnswerAppearsAndIsRemembered) {
  options_.system = "Be kind.";
  const Spoken spoken = say("Is it?\nReally?\n");
  ASSERT_TRUE(spoken.result);
  EXPECT_EQ(spoken.out, "> Yes, größer.\n> Yes, größer.\n> ");
  ASSERT_EQ(engine_.submitted().size(), 2u);
  const std::string second = prompt(1);
  for (const char* part : {"Be kind.", "Is it?", "Yes, größer.", "Really?"})
    EXPECT_NE(second.find(part), std::string::npos) << part << " in " << second;
  EXPECT_NE(engine_.submitted()[0].sampling.seed, engine_.submitted()[1].sampling.seed);
}

TEST_F(Chat, ResetForgetsAndQuitEnds) {
  options_.prompt = "";
  const Spoken spoken = say("First\n/reset\n\nSecond\r\n/quit\nThird\n");
  EXPECT_EQ(spoken.out, "Yes, größer.\nThe conversation is forgotten.\nYes, größer.\n");
  ASSERT_EQ(engine_.submitted().size(), 2u);
  EXPECT_EQ(prompt(1).find("First"), std::string::npos);
  EXPECT_NE(prompt(1).find("Second"), std::string::npos);
}

TEST_F(Chat, CommandsThatDoNotExistAreNotSentToTheModel) {
  const Spoken spoken = say("/help\n");
  EXPECT_NE(spoken.out.find("/reset"), std::string::npos);
  EXPECT_TRUE(engine_.submitted().empty());
}

TEST_F(Chat, TextThatIsNotUtf8IsRefusedAndForgotten) {
  const Spoken spoken = say("bad \xff\ngood\n");
  ASSERT_TRUE(spoken.result);
  EXPECT_EQ(*spoken.result, 1u);
  EXPECT_NE(spoken.err.find("error: "), std::string::npos);
  ASSERT_EQ(engine_.submitted().size(), 1u);
  EXPECT_EQ(prompt(0).find("bad"), std::string::npos);
}

TEST_F(Chat, AStopStringEndsTheAnswer) {
  options_.sampling.stop = {", gr"};
  options_.sampling.ignore_eos = true;
  options_.context_length = 100'000'000;
  options_.sampling.max_tokens = 10'000'000;
  EXPECT_EQ(say("Is it?\n").out, "> Yes\n> ");
}

TEST_F(Chat, AnInterruptEndsTheAnswerAndNotTheConversation) {
  options_.sampling.ignore_eos = true;
  options_.context_length = 100'000'000;
  options_.sampling.max_tokens = 10'000'000;
  int asked = 0;
  options_.is_interrupted = [&] { return ++asked == 3; };
  const Spoken spoken = say("Is it?\n");
  ASSERT_TRUE(spoken.result);
  EXPECT_TRUE(spoken.out.ends_with("\n> "));
  EXPECT_EQ(engine_.stats().cancelled, 1u);
}

TEST_F(Chat, AnInterruptBeforeAnAnswerIsNotMeantForIt) {
  int asked = 0;
  options_.is_interrupted = [&] { return ++asked == 1; };
  EXPECT_EQ(say("Is it?\n").out, "> Yes, größer.\n> ");
  EXPECT_EQ(engine_.stats().cancelled, 0u);
}

TEST_F(Chat, TheOldestTurnsAreForgottenWhenTheContextIsFull) {
  options_.system = "Be kind.";
  options_.context_length = 180;
  const Spoken spoken = say("First question\nSecond question\nThird question\n");
  ASSERT_TRUE(spoken.result);
  EXPECT_NE(spoken.out.find("forgotten"), std::string::npos);
  const EngineRequest last = engine_.submitted().at(2);
  EXPECT_EQ(prompt(2).find("First"), std::string::npos);
  EXPECT_NE(prompt(2).find("Be kind."), std::string::npos);
  EXPECT_NE(prompt(2).find("Third"), std::string::npos);
  EXPECT_LE(static_cast<int>(last.prompt.size()) + last.sampling.max_tokens, 180);
}

TEST_F(Chat, AQuestionThatNeverFitsIsRefused) {
  options_.context_length = 100;
  const Spoken spoken = say(std::string(200, 'x') + "\nshort\n");
  ASSERT_TRUE(spoken.result);
  EXPECT_EQ(*spoken.result, 1u);
  EXPECT_NE(spoken.err.find("the model reads 75 at most"), std::string::npos) << spoken.err;
  EXPECT_EQ(engine_.submitted().size(), 1u);
}

TEST(ChatFaults, AFailedAnswerIsToldAndForgotten) {
  ByteModel model;
  FakeEngine engine({.poison = kImStart});
  ChatSession session({engine, model.tokenizer(), *model.chat_template()}, {.context_length = 1000});
  std::istringstream in("one\ntwo\n");
  std::ostringstream out, err;
  EXPECT_EQ(session.run(in, out, err).value(), 2u);
  EXPECT_NE(err.str().find("error: a kernel failed"), std::string::npos) << err.str();
  ASSERT_EQ(engine.submitted().size(), 2u);
  EXPECT_EQ(engine.submitted()[0].prompt.size(), engine.submitted()[1].prompt.size());
}

TEST(ChatOfABaseModel, TheTextGoesOn) {
  ByteModel model(ByteModel::Template::kNone);
  FakeEngine engine(
      {.answer = [](const EngineRequest&) { return bytes_as_tokens(" there was."); }});
  ChatSession session({engine, model.tokenizer(), *model.chat_template()},
                      {.sampling = {.max_tokens = 50}, .context_length = 60, .prompt = ""});
  std::istringstream in("Once upon a time\n And then\n And at the very end of it all\n");
  std::ostringstream out, err;
  EXPECT_EQ(session.run(in, out, err).value(), 0u);
  const auto prompt = [&](size_t request) {
    return model.tokenizer().decode(engine.submitted().at(request).prompt);
  };
  EXPECT_EQ(prompt(0), "Once upon a time");
  EXPECT_EQ(prompt(1), "Once upon a time there was. And then");
  // Too long by now; its end is what the model goes on from.
  EXPECT_EQ(prompt(2).size(), 45u);
  EXPECT_TRUE(prompt(2).ends_with(" there was. And at the very end of it all"));
}

}  // namespace
}  // namespace fib::testing
