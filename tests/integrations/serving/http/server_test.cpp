// What well-behaved clients get.

#include "integrations/serving/http/server.h"

#include <thread>

#include "tests/integrations/serving/http/served_fixture.h"

namespace fib::testing {
namespace {

constexpr std::string_view kCompletions = "/v1/completions";
constexpr std::string_view kChat = "/v1/chat/completions";

TEST_F(Served, ACompletion) {
  start();
  const HttpAnswer answer = HttpClient(port()).post(kCompletions, completion("hello, wörld"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.at("content-type"), "application/json");
  const Json json = answer.json();
  EXPECT_TRUE(json.at("id").get<std::string>().starts_with("cmpl-"));
  EXPECT_EQ(json.at("object"), "text_completion");
  EXPECT_EQ(json.at("model"), "org/m");
  EXPECT_EQ(json.at("choices"), parse_json(R"([{"index": 0, "text": "hello, wörld",
            "logprobs": null, "finish_reason": "stop"}])",
                                           "expected")
                                    .value());
  EXPECT_EQ(json.at("usage"),
            parse_json(R"({"prompt_tokens": 13, "completion_tokens": 13, "total_tokens": 26,
                           "prompt_tokens_details": {"cached_tokens": 6}})",
                       "expected")
                .value());
}

TEST_F(Served, AChat) {
  engine_options_.answer = [](const EngineRequest&) { return bytes_as_tokens("fine"); };
  start();
  const Json json = HttpClient(port()).post(kChat, chat("how are you?")).json();
  EXPECT_TRUE(json.at("id").get<std::string>().starts_with("chatcmpl-"));
  EXPECT_EQ(json.at("object"), "chat.completion");
  EXPECT_EQ(json.at("choices")[0], parse_json(R"({"index": 0, "message": {"role": "assistant",
            "content": "fine", "refusal": null}, "logprobs": null, "finish_reason": "stop"})",
                                              "expected")
                                       .value());
}

TEST_F(Served, AStream) {
  start();
  const HttpAnswer answer = HttpClient(port()).post(
      kCompletions, completion("añb", {{"stream", true}, {"max_tokens", 3}}));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.at("content-type"), "text/event-stream");
  const std::vector<Json> events = answer.events();
  // Three tokens, but only two characters; then the end.
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].at("choices")[0].at("text"), "a");
  EXPECT_EQ(events[1].at("choices")[0].at("text"), "ñ");
  EXPECT_EQ(events[1].at("choices")[0].at("finish_reason"), nullptr);
  EXPECT_EQ(events[2].at("choices")[0].at("finish_reason"), "length");
  EXPECT_FALSE(events[2].contains("usage"));
}

TEST_F(Served, AStreamOfAChatWithUsage) {
  engine_options_.answer = [](const EngineRequest&) { return bytes_as_tokens("ok"); };
  start();
  const std::vector<Json> events =
      HttpClient(port())
          .post(kChat, chat("x", {{"stream", true}, {"stream_options", {{"include_usage", true}}}}))
          .events();
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].at("object"), "chat.completion.chunk");
  const auto delta = [&](size_t i) { return dump_json(events[i].at("choices")[0].at("delta")); };
  EXPECT_EQ(delta(0), R"({"role":"assistant","content":"o"})");
  EXPECT_EQ(delta(1), R"({"content":"k"})");
  EXPECT_EQ(delta(2), "{}");
  EXPECT_EQ(events[0].at("usage"), nullptr);
  EXPECT_EQ(events[2].at("choices")[0].at("finish_reason"), "stop");
  EXPECT_TRUE(events[3].at("choices").empty());
  EXPECT_EQ(events[3].at("usage").at("completion_tokens"), 2);
}

TEST_F(Served, ABrokenCharacterAtTheEndIsReplaced) {
  start();
  const Json body = {{"model", "org/m"}, {"prompt", Json::array({0x61, 0xc3})}};
  EXPECT_EQ(HttpClient(port()).post(kCompletions, body).json().at("choices")[0].at("text"),
            "a\xef\xbf\xbd");
}

TEST_F(Served, SeveralPromptsAndChoices) {
  start();
  const Json body = {{"model", "org/m"}, {"prompt", {"ab", "xyz"}}, {"n", 2}};
  const Json json = HttpClient(port()).post(kCompletions, body).json();
  std::vector<std::string> texts;
  for (const Json& choice : json.at("choices")) texts.push_back(choice.at("text"));
  EXPECT_EQ(texts, (std::vector<std::string>{"ab", "ab", "xyz", "xyz"}));
  EXPECT_EQ(json.at("usage").at("prompt_tokens"), 5);  // a prompt counts once
  EXPECT_EQ(json.at("usage").at("completion_tokens"), 10);
  EXPECT_NE(engine_->submitted()[0].sampling.seed, engine_->submitted()[1].sampling.seed);

  Json streamed = body;
  streamed["stream"] = true;
  EXPECT_EQ(Served::texts(HttpClient(port()).post(kCompletions, streamed).events()),
            (std::map<int, std::string>{{0, "ab"}, {1, "ab"}, {2, "xyz"}, {3, "xyz"}}));
}

TEST_F(Served, AStopStringEndsTheAnswerAndTheWork) {
  engine_options_.answer = [](const EngineRequest&) { return bytes_as_tokens("one STOP two "); };
  start();
  const Json more = {{"stop", "STOP"}, {"ignore_eos", true}, {"max_tokens", 4000}};
  const Json json = HttpClient(port()).post(kCompletions, completion("x", more)).json();
  EXPECT_EQ(json.at("choices")[0].at("text"), "one ");
  EXPECT_EQ(json.at("choices")[0].at("finish_reason"), "stop");
  EXPECT_EQ(json.at("usage").at("completion_tokens"), 8);
}

TEST_F(Served, AStreamNeverShowsTheBeginningOfAStopString) {
  engine_options_.answer = [](const EngineRequest&) { return bytes_as_tokens("a STOMP STOP b"); };
  start();
  const Json more = {{"stop", {"STOP", "zz"}}, {"stream", true}};
  const auto events = HttpClient(port()).post(kCompletions, completion("x", more)).events();
  EXPECT_EQ(texts(events).at(0), "a STOMP ");
  for (const Json& event : events)
    EXPECT_NE(event.at("choices")[0].at("text"), "S");  // held back until it is clear
  EXPECT_EQ(events.back().at("choices")[0].at("finish_reason"), "stop");
}

TEST_F(Served, WhatWasHeldBackComesWhenTheAnswerEnds) {
  engine_options_.answer = [](const EngineRequest&) { return bytes_as_tokens("a STO"); };
  start();
  for (const bool stream : {false, true}) {
    const HttpAnswer answer = HttpClient(port()).post(
        kCompletions, completion("x", {{"stop", "STOP"}, {"stream", stream}}));
    EXPECT_EQ(stream ? texts(answer.events()).at(0)
                     : answer.json().at("choices")[0].at("text").get<std::string>(),
              "a STO");
  }
}

TEST_F(Served, LogprobsOfACompletion) {
  start();
  const Json more = {{"logprobs", 2}, {"stop", "lo"}};
  const Json json = HttpClient(port()).post(kCompletions, completion("éllo", more)).json();
  EXPECT_EQ(json.at("choices")[0].at("text"), "él");
  EXPECT_EQ(json.at("choices")[0].at("logprobs"), parse_json(R"({
      "text_offset": [0, 0, 1],
      "token_logprobs": [-0.5, -0.5, -0.5],
      "tokens": ["bytes:\\xc3", "bytes:\\xa9", "l"],
      "top_logprobs": [{"bytes:\\xc3": -0.5, "bytes:\\xc4": -1.5},
                       {"bytes:\\xa9": -0.5, "bytes:\\xaa": -1.5},
                       {"l": -0.5, "m": -1.5}]})",
                                                             "expected")
                                                      .value());
}

TEST_F(Served, LogprobsOfAStreamedChat) {
  engine_options_.answer = [](const EngineRequest&) { return bytes_as_tokens("hi"); };
  start();
  const Json more = {{"logprobs", true}, {"top_logprobs", 1}, {"stream", true}};
  const auto events = HttpClient(port()).post(kChat, chat("x", more)).events();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[1].at("choices")[0].at("logprobs"), parse_json(R"({"content": [
      {"token": "i", "logprob": -0.5, "bytes": [105],
       "top_logprobs": [{"token": "i", "logprob": -0.5, "bytes": [105]}]}],
      "refusal": null})",
                                                                  "expected")
                                                           .value());
  EXPECT_EQ(events[2].at("choices")[0].at("logprobs"), nullptr);
}

TEST_F(Served, ModelsAndHealth) {
  start();
  HttpClient client(port());
  const Json models = client.get("/v1/models").json();
  EXPECT_EQ(models.at("object"), "list");
  EXPECT_EQ(models.at("data")[0].at("id"), "org/m");
  EXPECT_EQ(models.at("data")[0].at("created"), 1700000000);
  EXPECT_EQ(client.get("/v1/models/org/m").json(), models.at("data")[0]);
  EXPECT_EQ(client.get("/v1/models/org%2Fm?x=y").json(), models.at("data")[0]);
  EXPECT_EQ(client.get("/v1/models/org%2").error().at("code"), "model_not_found");
  EXPECT_EQ(client.get("/health").json().at("status"), "ok");
  engine_->set_overdue();
  EXPECT_EQ(client.get("/health").status, 503);
  EXPECT_EQ(client.get("/health").error().at("code"), "step_overdue");
  engine_->lose_device("the card did not finish");
  EXPECT_EQ(client.get("/health").status, 503);
  const Json lost = client.get("/health").error();
  EXPECT_EQ(lost.at("code"), "device_lost");
  EXPECT_NE(lost.at("message").get<std::string>().find("the card did not finish"),
            std::string::npos);
}

TEST_F(Served, MetricsTellWhatHappened) {
  signature_times_ = [] {
    return std::vector<SignatureTime>{{.signature = "rmsnorm \"x\"",
                                       .solution = "rows",
                                       .calls = 7,
                                       .host_s = 0.5,
                                       .sampled_calls = 2,
                                       .device_s = 0.25}};
  };
  start();
  HttpClient client(port());
  client.post(kCompletions, completion("abc"));
  client.post(kCompletions, completion("abc", {{"max_tokens", 2}}));
  client.get("/nothing");
  const HttpAnswer answer = client.get("/metrics");
  EXPECT_EQ(answer.headers.at("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  for (const std::string_view line :
       {"fib_time_to_first_token_seconds_count 2\n", "fib_time_between_tokens_seconds_count 3\n",
        "fib_request_seconds_bucket{le=\"+Inf\"} 2\n", "fib_queue_seconds_bucket{le=\"0.001\"} 2\n",
        "fib_requests_total{outcome=\"stop\"} 1\n", "fib_requests_total{outcome=\"length\"} 1\n",
        "fib_http_responses_total{code=\"404\"} 1\n", "fib_generated_tokens_total 5\n",
        "fib_requests_waiting 0\n", "fib_kv_use_ratio 0\n", "fib_http_connections 1\n",
        "fib_signature_calls_total{signature=\"rmsnorm \\\"x\\\"\",solution=\"rows\"} 7\n",
        "fib_signature_seconds_total{signature=\"rmsnorm \\\"x\\\"\",solution=\"rows\"} 0.5\n",
        "fib_signature_sampled_calls_total{signature=\"rmsnorm \\\"x\\\"\",solution=\"rows\"} 2\n",
        "fib_signature_device_seconds_total{signature=\"rmsnorm \\\"x\\\"\",solution=\"rows\"} "
        "0.25\n"}) {
    EXPECT_NE(answer.body.find(line), std::string::npos) << line << "in\n" << answer.body;
  }
  constexpr std::string_view kExecutorHost = "\nfib_engine_step_executor_host_seconds_total ";
  EXPECT_EQ(answer.body.find(kExecutorHost), std::string::npos) << "not known on the cpu";
  engine_->set_executor_host_ns(2.5e8);
  EXPECT_NE(client.get("/metrics").body.find(std::string(kExecutorHost) + "0.25\n"),
            std::string::npos);
}

TEST_F(Served, RequestsSentAheadAreAnsweredInOrder) {
  start();
  HttpClient client(port());
  std::string requests;
  for (const char* prompt : {"first", "second", "third"}) {
    const std::string body = dump_json(completion(prompt));
    requests +=
        "POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\n"
        "Content-Length: " +
        std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  client.send(requests);
  for (const char* prompt : {"first", "second", "third"})
    EXPECT_EQ(client.receive().json().at("choices")[0].at("text"), prompt);
}

TEST_F(Served, ABodyInChunksAndByteByByte) {
  start();
  HttpClient client(port());
  const std::string body = dump_json(completion("hi"));
  std::string request =
      "POST /v1/completions HTTP/1.1\r\nContent-Type: Application/JSON ; "
      "charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const char c : body) request += std::string("1\r\n") + c + "\r\n";
  request += "0\r\n\r\n";
  for (const char c : request) client.send({&c, 1});
  EXPECT_EQ(client.receive().json().at("choices")[0].at("text"), "hi");
}

TEST_F(Served, AClientThatWaitsToContinueMay) {
  start();
  HttpClient client(port());
  const std::string body = dump_json(completion("hi"));
  client.send(
      "POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\n"
      "Expect: 100-continue\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n");
  EXPECT_EQ(client.receive_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send(body);
  EXPECT_EQ(client.receive().status, 200);
}

TEST_F(Served, Http10GetsAStreamThatEndsWithTheConnection) {
  start();
  HttpClient client(port());
  const std::string body = dump_json(completion("hi", {{"stream", true}}));
  client.send(
      "POST /v1/completions HTTP/1.0\r\nContent-Type: application/json\r\n"
      "Content-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body);
  const HttpAnswer answer = client.receive();
  EXPECT_FALSE(answer.headers.contains("transfer-encoding"));
  EXPECT_EQ(texts(answer.events()).at(0), "hi");
}

TEST_F(Served, WhoComesWhileItDrainsIsToldSo) {
  start();
  engine_->pause();
  HttpClient idle(port()), busy(port());
  EXPECT_EQ(idle.get("/health").status, 200);
  busy.send_post(kCompletions, dump_json(completion("abc")));
  engine_->wait_until([](const EngineStats& stats) { return stats.running == 1; });

  std::jthread drain([&] { server_->drain(); });
  EXPECT_TRUE(idle.is_at_end());  // so it has begun
  HttpClient health(port()), late(port()), metrics(port()), silent(port());
  const HttpAnswer unhealthy = health.get("/health");
  EXPECT_EQ(unhealthy.status, 503);
  EXPECT_EQ(unhealthy.headers.at("connection"), "close");
  EXPECT_TRUE(health.is_at_end());
  const HttpAnswer refused = late.post(kCompletions, completion("too late"));
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.headers.at("retry-after"), "1");
  EXPECT_EQ(refused.error().at("code"), "service_unavailable");
  EXPECT_NE(metrics.get("/metrics").body.find("fib_requests_running 1\n"), std::string::npos);

  for (HttpClient* client : {&health, &late, &metrics}) client->close();
  silent.send("GET /health HTTP/1.1\r\n");  // half a request, which nobody waits for
  engine_->resume();
  EXPECT_EQ(busy.receive().json().at("choices")[0].at("text"), "abc");
  busy.close();
  drain.join();
  EXPECT_TRUE(silent.is_at_end());
  EXPECT_THROW(HttpClient(port()).get("/health"), std::runtime_error);
}

TEST_F(Served, DrainFinishesWhatWasAskedAndClosesTheRest) {
  start();
  engine_->pause();
  HttpClient idle(port()), busy(port());
  EXPECT_EQ(idle.get("/health").status, 200);
  busy.send_post(kCompletions, dump_json(completion("abc", {{"stream", true}})));
  engine_->wait_until([](const EngineStats& stats) { return stats.running == 1; });

  std::jthread drain([&] { server_->drain(); });
  EXPECT_TRUE(idle.is_at_end());
  engine_->resume();
  const HttpAnswer answer = busy.receive();
  EXPECT_EQ(texts(answer.events()).at(0), "abc");
  EXPECT_TRUE(busy.is_at_end());
  busy.close();
  drain.join();
  EXPECT_EQ(engine_->stats().finished, 1u);
}

TEST_F(Served, WhoHadBegunToAskWhenItDrainsIsToldSo) {
  start();
  HttpClient idle(port()), health(port()), completion(port());
  EXPECT_EQ(idle.get("/health").status, 200);
  // The answer to Expect proves that the server has seen the request begin.
  const std::string rest = "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n";
  health.send("GET /health HTTP/1.1\r\n" + rest);
  completion.send("POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\n" + rest);
  for (HttpClient* client : {&health, &completion}) client->receive_until("Continue\r\n\r\n");

  std::jthread drain([&] { server_->drain(); });
  EXPECT_TRUE(idle.is_at_end());
  for (HttpClient* client : {&health, &completion}) {
    client->send("{}");
    const HttpAnswer answer = client->receive();
    EXPECT_EQ(answer.status, 503);
    EXPECT_EQ(answer.error().at("code"), "service_unavailable");
    EXPECT_TRUE(client->is_at_end());
    client->close();
  }
}

TEST_F(Served, ASecondServerOnThePortIsToldWhatToDo) {
  start();
  ServerConfig config = config_;
  config.port = port();
  const auto second = Server::start(config, {.engine = *engine_,
                                             .tokenizer = model_.tokenizer(),
                                             .chat_template = model_.chat_template(),
                                             .defaults = model_.defaults()});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kEnvironment);
  EXPECT_NE(second.error().to_string().find("port is in use"), std::string::npos);
  EXPECT_NE(second.error().remedy.find("another port"), std::string::npos);
}

TEST_F(Served, AnAddressOfNobodyIsRefused) {
  config_.host = "192.0.2.1";  // documentation's own
  FakeEngine engine;
  const auto server = Server::start(config_, {.engine = engine,
                                              .tokenizer = model_.tokenizer(),
                                              .chat_template = model_.chat_template(),
                                              .defaults = model_.defaults()});
  ASSERT_FALSE(server);
  EXPECT_NE(server.error().remedy.find("127.0.0.1"), std::string::npos);
}

}  // namespace
}  // namespace fib::testing
