// What badly behaved clients get, and that nobody else notices.

#include <fmt/format.h>

#include <atomic>
#include <thread>

#include "tests/integrations/serving/http/served_fixture.h"

namespace fib::testing {
namespace {

constexpr std::string_view kCompletions = "/v1/completions";

// What never ends by itself.
Json endless() { return {{"ignore_eos", true}, {"max_tokens", 1'000'000}, {"stream", true}}; }

class Abused : public Served {
 protected:
  Abused() { model_.context_length = 2'000'000; }

  void expect_still_serving() {
    EXPECT_EQ(HttpClient(port())
                  .post(kCompletions, completion("fine"))
                  .json()
                  .at("choices")[0]
                  .at("text"),
              "fine");
  }
  void expect_error(const HttpAnswer& answer, int status, std::string_view code,
                    std::string_view param = {}) {
    EXPECT_EQ(answer.status, status);
    const Json error = answer.error();
    EXPECT_EQ(error.at("code"), code.empty() ? Json(nullptr) : Json(code));
    EXPECT_EQ(error.at("param"), param.empty() ? Json(nullptr) : Json(param));
    EXPECT_FALSE(error.at("message").get<std::string>().empty());
    EXPECT_FALSE(error.at("type").get<std::string>().empty());
  }
};

TEST_F(Abused, WrongPathsMethodsAndTypes) {
  start();
  HttpClient client(port());
  expect_error(client.get("/v1/nothing"), 404, "unknown_url");
  expect_error(client.get("/v1/models/other"), 404, "model_not_found", "model");
  const HttpAnswer get = client.get(kCompletions);
  expect_error(get, 405, "method_not_supported");
  EXPECT_EQ(get.headers.at("allow"), "POST");
  client.send("OPTIONS /v1/completions HTTP/1.1\r\nOrigin: http://x\r\n\r\n");
  const HttpAnswer options = client.receive();
  EXPECT_EQ(options.status, 405);
  EXPECT_FALSE(options.headers.contains("access-control-allow-origin"));
  client.send(
      "POST /v1/completions HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n"
      "{}");
  expect_error(client.receive(), 415, "unsupported_content_type");
}

TEST_F(Abused, HeadGetsNoBody) {
  start();
  for (const auto& [path, status] :
       {std::pair{"/health", "200"}, {"/metrics", "200"}, {"/v1/completions", "405"}}) {
    HttpClient client(port());
    client.send(std::string("HEAD ") + path + " HTTP/1.1\r\nConnection: close\r\n\r\n");
    const std::string answer = client.receive_until("\r\n\r\n");
    EXPECT_NE(answer.find(status), std::string::npos) << answer;
    EXPECT_TRUE(client.is_at_end());
  }
}

TEST_F(Abused, WrongBodies) {
  start();
  HttpClient client(port());
  const auto post = [&](std::string_view body) {
    client.send_post(kCompletions, body);
    return client.receive();
  };
  expect_error(post("{\"model\": "), 400, "invalid_json");
  expect_error(post("{\"model\": \"\xc3\x28\"}"), 400, "invalid_json");
  expect_error(post("{}"), 400, "missing_required_parameter", "model");
  expect_error(post(R"({"model": "no", "prompt": "x"})"), 404, "model_not_found", "model");
  expect_error(post(R"({"model": "org/m", "prompt": "x", "foo": 1})"), 400, "unknown_parameter",
               "foo");
  expect_error(post(R"({"model": "org/m", "prompt": "x", "max_tokens": 2000000})"), 400,
               "context_length_exceeded", "prompt");
  expect_still_serving();
}

TEST_F(Abused, NotHttpAtAll) {
  start();
  for (const std::string_view bytes :
       {"hello\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\x16\x03\x01\x02", "GET /\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: "
        "chunked\r\n\r\n"}) {
    HttpClient client(port());
    client.send(bytes);
    expect_error(client.receive(), 400, "invalid_http");
    EXPECT_TRUE(client.is_at_end()) << bytes;
  }
  expect_still_serving();
}

TEST_F(Abused, TooLargeABodyOrHeader) {
  config_.limits.body_bytes = 1000;
  config_.limits.header_bytes = 2000;
  start();
  {
    HttpClient client(port());
    client.send_post(kCompletions, std::string(1001, ' '));
    expect_error(client.receive(), 413, "request_too_large");
    EXPECT_TRUE(client.is_at_end());
  }
  {
    HttpClient client(port());  // says nothing of its length beforehand
    client.send(
        "POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 11; ++i) client.send("64\r\n" + std::string(100, ' ') + "\r\n");
    expect_error(client.receive(), 413, "request_too_large");
  }
  {
    HttpClient client(port());
    client.send("GET /health HTTP/1.1\r\nX: " + std::string(3000, 'x') + "\r\n\r\n");
    expect_error(client.receive(), 431, "header_too_large");
  }
  expect_still_serving();
}

TEST_F(Abused, TheKeyIsAskedFor) {
  config_.api_key = "secret";
  start();
  HttpClient client(port());
  const Json body = completion("x");
  const HttpAnswer without = client.get("/v1/models");
  expect_error(without, 401, "");
  EXPECT_EQ(without.headers.at("www-authenticate"), "Bearer");
  for (const char* wrong : {"Authorization: Bearer secre\r\n", "Authorization: Bearer secret2\r\n",
                            "Authorization: Bearer \r\n"})
    expect_error(client.get("/v1/models", wrong), 401,
                 std::string_view(wrong).ends_with("er \r\n") ? "" : "invalid_api_key");
  expect_error(client.get("/v1/models", "Authorization: Basic secret\r\n"), 401, "");
  expect_error(client.get("/v1/nothing"), 401, "");  // who has no key learns nothing
  EXPECT_EQ(client.get("/v1/models", "Authorization: Bearer secret\r\n").status, 200);
  EXPECT_EQ(client.get("/v1/models", "Authorization: bearer secret\r\n").status, 200);
  EXPECT_EQ(client.get("/health").status, 200);
  expect_error(HttpClient(port()).post(kCompletions, body), 401, "");
  EXPECT_EQ(HttpClient(port()).post(kCompletions, body, "Authorization: Bearer secret\r\n").status,
            200);
}

TEST_F(Abused, AFullQueueIsSaidAtOnce) {
  engine_options_.max_queued = 3;
  start();
  engine_->pause();
  HttpClient first(port()), second(port());
  first.send_post(kCompletions, dump_json(completion("a", {{"n", 2}})));
  engine_->wait_until([](const EngineStats& stats) { return stats.running == 2; });
  // Of the second's two, one would have room; all or nothing.
  const HttpAnswer answer = second.post(kCompletions, completion("b", {{"n", 2}}));
  expect_error(answer, 429, "rate_limit_exceeded");
  EXPECT_EQ(answer.headers.at("retry-after"), "1");
  engine_->wait_until([](const EngineStats& stats) { return stats.cancelled == 1; });
  engine_->resume();
  EXPECT_EQ(first.receive().status, 200);
}

TEST_F(Abused, AFailureBeforeTheFirstTokenHasAStatusAndOneAfterItAnEvent) {
  engine_options_.poison = 'x';
  start();
  expect_error(HttpClient(port()).post(kCompletions, completion("xy")), 500, "");
  const HttpAnswer stream =
      HttpClient(port()).post(kCompletions, completion("xy", {{"stream", true}}));
  EXPECT_EQ(stream.status, 200);
  const std::vector<Json> events = stream.events();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].at("choices")[0].at("text"), "x");
  EXPECT_NE(dump_json(events[1].at("error")).find("a kernel failed"), std::string::npos);
  expect_still_serving();
}

// Whoever looks after the server hears of it too.
TEST_F(Abused, EachSequenceThatFailsIsToldOf) {
  engine_options_.poison = 'x';
  std::mutex mutex;
  std::vector<std::string> failures;
  on_failure_ = [&](const Error& error) {
    const std::lock_guard lock(mutex);
    failures.push_back(error.message);
  };
  start();
  HttpClient(port()).post(kCompletions, completion("fine"));
  HttpClient(port()).post(kCompletions, completion("xy", {{"n", 3}}));
  server_->drain();
  server_.reset();
  // Of one answer's sequences those that were still under way are cancelled with the first.
  ASSERT_GE(failures.size(), 1u);
  EXPECT_LE(failures.size(), 3u);
  EXPECT_NE(failures[0].find("a kernel failed"), std::string::npos);
}

TEST_F(Abused, AnEngineThatEndsFailsItsRequests) {
  start();
  engine_->pause();
  HttpClient client(port());
  client.send_post(kCompletions, dump_json(completion("abc")));
  engine_->wait_until([](const EngineStats& stats) { return stats.running == 1; });
  engine_->cancel(1);  // as an engine does that shuts down
  expect_error(client.receive(), 503, "service_unavailable");
}

TEST_F(Abused, WhoGoesIsCancelledRunningWaitingStreamingOrNot) {
  engine_options_.max_running = 2;
  start();
  engine_->pause();
  {
    std::vector<std::unique_ptr<HttpClient>> clients;
    for (int i = 0; i < 6; ++i) {
      clients.push_back(std::make_unique<HttpClient>(port()));
      clients.back()->send_post(kCompletions,
                                dump_json(completion("abc", {{"stream", i % 2 == 0}})));
    }
    engine_->wait_until([](const EngineStats& stats) { return stats.waiting == 4; });
    engine_->step(1);
    engine_->wait_until([](const EngineStats& stats) { return stats.generated_tokens == 2; });
    clients[0]->reset();
    clients[1]->reset();
  }
  engine_->wait_until([](const EngineStats& stats) { return stats.cancelled == 6; });
  engine_->resume();
  expect_still_serving();
}

TEST_F(Abused, WhoGoesWithAllChoicesCancelsAllOfThem) {
  start();
  engine_->pause();
  {
    HttpClient client(port());
    client.send_post(kCompletions, dump_json(completion("abc", {{"n", 5}})));
    engine_->wait_until([](const EngineStats& stats) { return stats.running == 5; });
  }
  engine_->wait_until([](const EngineStats& stats) { return stats.cancelled == 5; });
}

TEST_F(Abused, AReaderTooSlowIsCutOff) {
  config_.limits.buffered_bytes = 32 << 10;
  start();
  HttpClient slow(port());
  slow.shrink_receive_buffer();
  slow.send_post(kCompletions, dump_json(completion("abc", endless())));
  engine_->wait_until([](const EngineStats& stats) { return stats.cancelled == 1; });
  expect_still_serving();
}

TEST_F(Abused, WhoSendsAheadWithoutEndIsCutOff) {
  config_.limits.body_bytes = 1000;
  config_.limits.header_bytes = 1000;
  start();
  engine_->pause();
  HttpClient client(port());
  client.send_post(kCompletions, dump_json(completion("abc")));
  for (int i = 0; i < 10; ++i) client.send_post(kCompletions, std::string(900, ' '));
  engine_->wait_until([](const EngineStats& stats) { return stats.cancelled == 1; });
}

TEST_F(Abused, AHeaderThatDoesNotEndIsGivenUp) {
  config_.limits.header_timeout = std::chrono::milliseconds(30);
  start();
  HttpClient client(port());
  client.send("GET /health HTT");
  expect_error(client.receive(), 408, "request_timeout");
}

TEST_F(Abused, ABodyThatDoesNotEndIsGivenUp) {
  config_.limits.body_timeout = std::chrono::milliseconds(30);
  start();
  HttpClient client(port());
  client.send(
      "POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\n"
      "Content-Length: 10\r\n\r\n{");
  expect_error(client.receive(), 408, "request_timeout");
}

TEST_F(Abused, WhoAsksNothingIsDropped) {
  config_.limits.idle_timeout = std::chrono::milliseconds(30);
  start();
  EXPECT_TRUE(HttpClient(port()).is_at_end());
}

TEST_F(Abused, WaitingForAnAnswerIsNotIdleness) {
  config_.limits.header_timeout = config_.limits.body_timeout = config_.limits.idle_timeout =
      std::chrono::milliseconds(1000);
  start();
  engine_->pause();
  HttpClient client(port());
  client.send_post(kCompletions, dump_json(completion("abc")));
  engine_->wait_until([](const EngineStats& stats) { return stats.running == 1; });
  EXPECT_TRUE(HttpClient(port()).is_at_end());  // all of these times have passed for another
  engine_->resume();
  EXPECT_EQ(client.receive().status, 200);
}

TEST_F(Abused, OneConnectionTooManyIsToldSo) {
  config_.limits.connections = 2;
  start();
  HttpClient first(port()), second(port());
  EXPECT_EQ(first.get("/health").status, 200);
  EXPECT_EQ(second.get("/health").status, 200);
  HttpClient third(port());
  const HttpAnswer answer = third.get("/health");
  expect_error(answer, 503, "too_many_connections");
  EXPECT_EQ(answer.headers.at("retry-after"), "1");
  EXPECT_TRUE(third.is_at_end());
  EXPECT_EQ(first.get("/health").status, 200);
}

TEST_F(Abused, WhoeverIsLeftWhenTheServerEndsIsCutOff) {
  start();
  engine_->pause();
  HttpClient idle(port()), waiting(port());
  EXPECT_EQ(idle.get("/health").status, 200);
  waiting.send_post(kCompletions, dump_json(completion("abc", endless())));
  engine_->wait_until([](const EngineStats& stats) { return stats.running == 1; });
  server_.reset();
  EXPECT_TRUE(idle.is_at_end());
  EXPECT_TRUE(waiting.is_at_end());
  EXPECT_EQ(engine_->stats().cancelled, 1u);
}

// Two hundred at once, a third of whom leave midway: everyone else gets their own answer, whole,
// and nothing stays behind.
TEST_F(Abused, ACrowdOfWhichAThirdLeaves) {
  constexpr int kClients = 200, kLeavers = 67;
  engine_options_.step_time = std::chrono::microseconds(500);
  start();
  std::atomic<int> right = 0;
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&, i] {
      HttpClient client(port());
      const std::string prompt = fmt::format("what {} says, again and {} again", i, i * i);
      if (i % 3 == 0) {
        client.send_post(kCompletions, dump_json(completion(prompt, endless())));
        client.receive_until("\n\n");
        if (i % 2 == 0) client.reset();
        return;
      }
      const bool stream = i % 3 == 1;
      const HttpAnswer answer = client.post(kCompletions, completion(prompt, {{"stream", stream}}));
      if (answer.status != 200) return;
      const std::string text = stream
                                   ? texts(answer.events()).at(0)
                                   : answer.json().at("choices")[0].at("text").get<std::string>();
      right += text == prompt;
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(right, kClients - kLeavers);
  const EngineStats stats =
      engine_->wait_until([](const EngineStats& now) { return now.running + now.waiting == 0; });
  EXPECT_EQ(stats.cancelled, static_cast<uint64_t>(kLeavers));
  EXPECT_EQ(stats.finished, static_cast<uint64_t>(kClients - kLeavers));
  server_->drain();
}

}  // namespace
}  // namespace fib::testing
