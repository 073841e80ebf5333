#include "agents/proposers/llm/chat.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <thread>

#include "tests/agents/proposers/llm/scripted_server.h"

namespace fib::agents {
namespace {

using ::testing::AllOf;
using testing::answer;
using testing::ChatScript;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::Not;
using testing::options_for;
using testing::ScriptedServer;

const std::vector<Exchange> kMessages = {{"system", "be brief"}, {"user", "hello"}};

bool never() { return false; }

Json failure(int status, const std::string& message) {
  return {{"status", status}, {"error", {{"message", message}}}};
}

Result<ChatOutcome> ask(const LlmOptions& options, const std::function<bool()>& cancelled = never) {
  auto client = FIB_TRY(ChatClient::open(options));
  return client->ask(kMessages, 1, cancelled);
}

TEST(Chat, SendsWhatTheOptionsSay) {
  const ScriptedServer server({.key = "secret", .steps = {answer("hi"), answer("ho")}});
  LlmOptions options = options_for(server);
  options.url += "/";
  options.key = "secret";
  options.max_answer_tokens = 50;
  options.body = {{"temperature", 0.5}, {"seed", nullptr}};
  const auto outcome = ask(options);
  ASSERT_TRUE(outcome) << outcome.error().to_string();
  ASSERT_TRUE(outcome->answer) << outcome->refusal->message;
  EXPECT_EQ(outcome->answer->text, "hi");
  EXPECT_EQ(outcome->answer->usage.prompt_tokens, 1000);
  EXPECT_THAT(outcome->troubles, IsEmpty());

  const Json request = server.requests().at(0);
  EXPECT_EQ(request["authorization"], "Bearer secret");
  EXPECT_EQ(request["content_type"], "application/json");
  EXPECT_EQ(Json::parse(request["body"].get<std::string>()),
            Json::parse(R"({"model": "scripted-1", "messages": [
                {"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}],
                "stream": false, "max_tokens": 50, "temperature": 0.5})"));

  options.body = Json();
  ASSERT_TRUE(ask(options));
  EXPECT_EQ(Json::parse(server.requests().at(1)["body"].get<std::string>())["seed"], 1);
}

TEST(Chat, ComesBackWhenItIsTurnedAway) {
  Json limited = failure(429, "slow down");
  limited["headers"] = {{"Retry-After", "7"}};
  const ScriptedServer server(
      {.steps = {limited, failure(500, "oops"), Json{{"drop", true}},
                 Json{{"content", "a long answer"}, {"cut", 30}}, answer("hi")}});
  std::vector<double> waits;
  const auto outcome = ask(options_for(server, &waits));
  ASSERT_TRUE(outcome) << outcome.error().to_string();
  ASSERT_TRUE(outcome->answer) << outcome->refusal->message;
  EXPECT_EQ(outcome->answer->text, "hi");
  EXPECT_THAT(outcome->troubles,
              ElementsAre("attempt 1: HTTP 429: slow down", "attempt 2: HTTP 500: oops",
                          HasSubstr("attempt 3: "), HasSubstr("attempt 4: ")));
  EXPECT_THAT(waits, ElementsAre(7.0, AllOf(Ge(1.0), Le(2.0)), AllOf(Ge(2.0), Le(4.0)),
                                 AllOf(Ge(4.0), Le(8.0))));
}

TEST(Chat, GivesUpAfterSoManyAttempts) {
  const ScriptedServer server({.otherwise = failure(429, "slow down")});
  LlmOptions options = options_for(server);
  options.attempts = 3;
  const auto outcome = ask(options);
  ASSERT_TRUE(outcome) << outcome.error().to_string();
  EXPECT_EQ(outcome->refusal->reason, "rate-limit");
  EXPECT_EQ(outcome->troubles.size(), 3u);
  EXPECT_EQ(server.requests().size(), 3u);
}

TEST(Chat, DoesNotWaitForHours) {
  Json limited = failure(429, "tomorrow");
  limited["headers"] = {{"Retry-After", "36000"}};
  const ScriptedServer server({.otherwise = limited});
  std::vector<double> waits;
  const auto outcome = ask(options_for(server, &waits));
  ASSERT_TRUE(outcome) << outcome.error().to_string();
  EXPECT_EQ(outcome->refusal->reason, "rate-limit");
  EXPECT_THAT(waits, IsEmpty());
}

TEST(Chat, WhatWouldOnlyFailAgainIsNotRepeated) {
  const Json page{{"raw", "<html>welcome</html>"}, {"content_type", "text/html"}};
  const ScriptedServer server(
      {.steps = {failure(400, "too long"), page, Json{{"raw", "{\"choices\": ["}}}});
  auto client = ChatClient::open(options_for(server)).value();
  for (const char* expected : {"HTTP 400: too long", "isn't JSON: <html>", "isn't JSON"}) {
    const auto outcome = client->ask(kMessages, 1, never);
    ASSERT_TRUE(outcome) << outcome.error().to_string();
    EXPECT_EQ(outcome->refusal->reason, "endpoint");
    EXPECT_THAT(outcome->refusal->message, HasSubstr(expected));
  }
  EXPECT_EQ(server.requests().size(), 3u);
}

TEST(Chat, AnEndpointThatWillNotDoEndsTheRun) {
  const ScriptedServer server(
      {.key = "right",
       .steps = {
           failure(402, "no credit"),
           Json{{"status", 429}, {"error", {{"message", "quota"}, {"code", "insufficient_quota"}}}},
           Json{{"status", 302}, {"raw", ""}, {"headers", {{"Location", "/x"}}}}}});
  LlmOptions options = options_for(server);
  options.key = "wrong-key";
  const auto wrong_key = ask(options);
  ASSERT_FALSE(wrong_key);
  EXPECT_EQ(wrong_key.error().code, ErrorCode::kEnvironment);
  EXPECT_THAT(wrong_key.error().to_string(),
              AllOf(HasSubstr("HTTP 401"), HasSubstr("SOME_KEY"), Not(HasSubstr("wrong-key"))));
  options.key.clear();
  EXPECT_THAT(ask(options).error().remedy, HasSubstr("SOME_KEY is empty"));

  options.key = "right";
  LlmOptions unknown = options;
  unknown.model = "scripted-2";
  EXPECT_EQ(ask(unknown).error().code, ErrorCode::kNotFound);
  EXPECT_THAT(ask(unknown).error().to_string(), HasSubstr("scripted-2"));
  unknown = options;
  unknown.url += "/elsewhere";
  EXPECT_EQ(ask(unknown).error().code, ErrorCode::kNotFound);

  EXPECT_EQ(ask(options).error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(ask(options).error().code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(ask(options).error().message, HasSubstr("HTTP 302"));
}

TEST(Chat, NobodyThereIsAnErrorUntilSomebodyWas) {
  auto server = std::make_unique<ScriptedServer>(ChatScript{.otherwise = answer("hi")});
  LlmOptions options = options_for(*server);
  auto client = ChatClient::open(options).value();
  ASSERT_TRUE(client->ask(kMessages, 1, never));
  server.reset();
  const auto later = client->ask(kMessages, 1, never);
  ASSERT_TRUE(later) << later.error().to_string();
  EXPECT_EQ(later->refusal->reason, "endpoint");
  EXPECT_EQ(later->troubles.size(), 5u);
  const auto never_seen = ask(options);
  ASSERT_FALSE(never_seen);
  EXPECT_EQ(never_seen.error().code, ErrorCode::kEnvironment);
}

TEST(Chat, ACertificateOfNobodyWeTrustEndsTheRun) {
  const ScratchFolder folder;
  const std::string file = (folder / "both.pem").string();
  const std::string make =
      "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "
      "/CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout " +
      file + " -out " + file + ".crt 2> /dev/null && cat " + file + ".crt >> " + file;
  if (std::system(make.c_str()) != 0) GTEST_SKIP() << "no openssl to make a certificate with";
  const ScriptedServer server({.otherwise = answer("hi"), .certificate = file});
  const auto outcome = ask(options_for(server));
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, ErrorCode::kEnvironment);
  EXPECT_THAT(outcome.error().to_string(), HasSubstr("certificate"));
  EXPECT_THAT(server.requests(), IsEmpty());
}

TEST(Chat, ATimeoutIsARefusal) {
  const ScriptedServer server({.otherwise = Json{{"hang", true}}});
  LlmOptions options = options_for(server);
  options.timeout_s = 0.2;
  const auto outcome = ask(options);
  ASSERT_TRUE(outcome) << outcome.error().to_string();
  EXPECT_EQ(outcome->refusal->reason, "timeout");
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST(Chat, CanBeCancelledWhileItWaitsForAnAnswer) {
  const ScriptedServer server({.otherwise = Json{{"hang", true}}});
  const auto outcome = ask(options_for(server), [&] { return !server.requests().empty(); });
  ASSERT_TRUE(outcome) << outcome.error().to_string();
  EXPECT_EQ(outcome->refusal->reason, "cancelled");
}

TEST(Chat, CanBeCancelledBetweenAttempts) {
  const ScriptedServer server({.otherwise = failure(500, "oops")});
  std::atomic<bool> is_cancelled = false;
  LlmOptions options = options_for(server);
  options.wait = [&](double, const std::function<bool()>&) { is_cancelled = true; };
  const auto outcome = ask(options, [&] { return is_cancelled.load(); });
  ASSERT_TRUE(outcome) << outcome.error().to_string();
  EXPECT_EQ(outcome->refusal->reason, "cancelled");
}

TEST(Chat, SoManyAreInFlightAndNoMore) {
  const ScriptedServer server({.otherwise = failure(500, "oops")});
  std::atomic<int> waiting = 0, most = 0;
  LlmOptions options = options_for(server);
  options.samples = 2;
  options.attempts = 3;
  options.wait = [&](double, const std::function<bool()>&) {
    const int now = ++waiting;
    for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
    }
    --waiting;
  };
  auto client = ChatClient::open(options).value();
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] { EXPECT_TRUE(client->ask(kMessages, 1, never)); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most, 2);
  EXPECT_EQ(server.requests().size(), 18u);
}

TEST(Chat, ASampleThatIsNotYetAskedCanBeCancelled) {
  const ScriptedServer server({.otherwise = failure(500, "oops")});
  LlmOptions options = options_for(server);
  options.samples = 1;
  options.attempts = 2;
  ChatClient* asked = nullptr;
  std::optional<Refusal> second;
  options.wait = [&](double, const std::function<bool()>&) {
    second = asked->ask(kMessages, 2, [] { return true; }).value().refusal;
  };
  auto client = ChatClient::open(options).value();
  asked = client.get();
  ASSERT_TRUE(client->ask(kMessages, 1, never));
  EXPECT_EQ(second.value().reason, "cancelled");
  EXPECT_EQ(server.requests().size(), 2u);
}

TEST(Chat, OptionsThatCannotBeAreErrors) {
  const LlmOptions good{.url = "https://example.com/v1", .model = "m", .key_name = "K"};
  const std::pair<std::function<void(LlmOptions&)>, std::string_view> cases[] = {
      {[](LlmOptions& o) { o.url = ""; }, "base URL"},
      {[](LlmOptions& o) { o.url = "example.com/v1"; }, "base URL"},
      {[](LlmOptions& o) { o.url = "file:///etc/passwd"; }, "base URL"},
      {[](LlmOptions& o) { o.url = "https://"; }, "base URL"},
      {[](LlmOptions& o) { o.url = "https://me:word@example.com"; }, "base URL"},
      {[](LlmOptions& o) { o.url = "https://example.com/v1?a=b"; }, "base URL"},
      {[](LlmOptions& o) { o.url = "https://exa mple.com"; }, "base URL"},
      {[](LlmOptions& o) { o.model = ""; }, "no model"},
      {[](LlmOptions& o) { o.key = "a\r\nX: y"; }, "the key in K"},
      {[](LlmOptions& o) { o.attempts = 0; }, "positive"},
      {[](LlmOptions& o) { o.timeout_s = 0.0; }, "positive"},
      {[](LlmOptions& o) { o.body = Json::array(); }, "JSON object"},
  };
  EXPECT_TRUE(ChatClient::open(good));
  for (const auto& [spoil, expected] : cases) {
    LlmOptions options = good;
    spoil(options);
    const auto client = ChatClient::open(options);
    ASSERT_FALSE(client) << expected;
    EXPECT_EQ(client.error().code, ErrorCode::kInvalidInput);
    EXPECT_THAT(client.error().to_string(), HasSubstr(std::string(expected)));
  }
}

}  // namespace
}  // namespace fib::agents
