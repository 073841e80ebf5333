// Replays over HTTP, against the project's own server and against servers that misbehave.

#include "integrations/serving/traffic/endpoint.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <thread>

#include "tests/integrations/serving/http/served_fixture.h"

namespace fib {
namespace {

Traffic small_traffic() {
  RequestTrace trace{.has_arrivals = true, .requests = {}};
  for (int i = 0; i < 6; ++i) trace.requests.push_back({.input_tokens = 20, .output_tokens = 4});
  return Traffic::plan(trace, {.max_tokens = 1000, .vocab_size = 100}).value();
}

EndpointAddress local(uint16_t port) {
  return EndpointAddress::parse("http://127.0.0.1:" + std::to_string(port)).value();
}

class EndpointTest : public testing::Served {};

TEST_F(EndpointTest, SendsTokensAndTakesTheAnswersTimes) {
  start();
  auto sink = EndpointSink::open({.address = local(port())});
  ASSERT_TRUE(sink) << sink.error().to_string();
  EXPECT_EQ((*sink)->model(), "org/m");
  const Traffic traffic = small_traffic();
  const ReplayReport report = replay(traffic, **sink, {});
  EXPECT_EQ(report.finished, 6u) << report_to_text(report);
  EXPECT_EQ(report.output_tokens, 24u);
  EXPECT_EQ(report.input_tokens, 120u);
  const auto submitted = engine_->submitted();
  ASSERT_EQ(submitted.size(), 6u);
  size_t same = 0;
  for (size_t i = 0; i < 6; ++i) {
    for (const EngineRequest& request : submitted) {
      same += request.prompt == traffic.request(i).prompt ? 1 : 0;
      EXPECT_TRUE(request.sampling.ignore_eos);
      EXPECT_EQ(request.sampling.max_tokens, 4);
    }
  }
  EXPECT_EQ(same, 6u);
}

TEST_F(EndpointTest, RefusalsCarryTheServersWords) {
  config_.api_key = "secret";
  start();
  const auto refused = EndpointSink::open({.address = local(port())});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("HTTP 401: "), std::string::npos);

  const auto sink =
      EndpointSink::open({.address = local(port()), .api_key = "secret", .model = "another"});
  ASSERT_TRUE(sink) << sink.error().to_string();
  const ReplayReport report = replay(small_traffic(), **sink, {});
  EXPECT_EQ(report.failed, 6u);
  ASSERT_EQ(report.errors.size(), 1u);
  EXPECT_NE(report.errors.begin()->first.find("HTTP 404: "), std::string::npos)
      << report.errors.begin()->first;
}

TEST_F(EndpointTest, AnEngineThatFailsInTheMiddle) {
  engine_options_.poison = small_traffic().request(0).prompt[0];
  start();
  const auto sink = EndpointSink::open({.address = local(port())});
  ASSERT_TRUE(sink) << sink.error().to_string();
  const ReplayReport report = replay(small_traffic(), **sink, {});
  EXPECT_GE(report.failed, 1u);
  EXPECT_EQ(report.failed + report.finished, 6u);
}

TEST_F(EndpointTest, KernelsAreExchangedByPost) {
  std::string asked_for;
  kernels_.status = [] { return SwapStatus{.state = SwapState::kLoading, .candidate = "new"}; };
  kernels_.begin_swap = [&](const std::string& package) -> Result<void> {
    asked_for = package;
    if (package == "/busy") return fail(ErrorCode::kConflict, "'/other' is being loaded");
    return {};
  };
  start();
  const auto begun = post_json(local(port()), "/fib/kernels", "", {{"package", "/new"}});
  ASSERT_TRUE(begun) << begun.error().to_string();
  EXPECT_EQ(begun->at("state"), "loading");
  EXPECT_EQ(asked_for, "/new");
  const auto refused = post_json(local(port()), "/fib/kernels", "", {{"package", "/busy"}});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().to_string().find("'/other' is being loaded"), std::string::npos)
      << refused.error().to_string();
}

TEST_F(EndpointTest, NobodyThere) {
  start();
  const uint16_t free_port = port();
  server_.reset();
  const auto sink = EndpointSink::open({.address = local(free_port)});
  ASSERT_FALSE(sink);
  EXPECT_EQ(sink.error().code, ErrorCode::kEnvironment);
}

// Answers each connection with these bytes, then closes it.
class ScriptedServer {
 public:
  explicit ScriptedServer(std::vector<std::string> answers)
      : acceptor_(io_, {boost::asio::ip::address_v4::loopback(), 0}), thread_([this, answers] {
          for (const std::string& answer : answers) {
            auto socket = acceptor_.accept();
            boost::asio::streambuf request;
            boost::system::error_code ignored;
            boost::asio::read_until(socket, request, "\r\n\r\n", ignored);
            boost::asio::write(socket, boost::asio::buffer(answer), ignored);
            socket.shutdown(boost::asio::socket_base::shutdown_send, ignored);
            // Until the client has gone, so that what it was sent isn't thrown away.
            boost::asio::read_until(socket, request, "never", ignored);
          }
        }) {}
  ~ScriptedServer() { thread_.join(); }
  uint16_t port() const { return acceptor_.local_endpoint().port(); }

 private:
  boost::asio::io_context io_;
  boost::asio::ip::tcp::acceptor acceptor_;
  std::thread thread_;
};

std::string stream(std::string_view events) {
  return "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" +
         std::string(events);
}

// The error of the one request to a server that answers so.
std::string error_of(const std::string& answer) {
  const std::string models = R"({"data": [{"id": "m"}]})";
  ScriptedServer server({"HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(models.size()) +
                             "\r\nConnection: close\r\n\r\n" + models,
                         answer});
  const auto sink = EndpointSink::open({.address = local(server.port())});
  if (!sink) return sink.error().to_string();
  RequestTrace trace{.has_arrivals = true, .requests = {{.input_tokens = 5, .output_tokens = 2}}};
  const Traffic traffic = Traffic::plan(trace, {.max_tokens = 100, .vocab_size = 10}).value();
  const ReplayReport report = replay(traffic, **sink, {});
  return report.errors.empty() ? "none" : report.errors.begin()->first;
}

TEST(Endpoint, ServersThatMisbehave) {
  const std::string token = "data: {\"choices\": [{\"text\": \"a\"}]}\n\n";
  EXPECT_EQ(error_of(stream(": a comment\r\n\r\n" + token + "data:[DONE]\n\n")), "none");
  const auto expect_error = [](const std::string& answer, std::string_view part) {
    const std::string error = error_of(answer);
    EXPECT_NE(error.find(part), std::string::npos) << "wanted: " << part << ", got: " << error;
  };
  expect_error(stream(token), "before [DONE]");
  expect_error(stream("data: {oops\n\n"), "isn't JSON");
  expect_error(stream("data: [DONE]\n\n"), "without a token");
  expect_error(stream("data: {\"error\": {\"message\": \"out of memory\"}}\n\n"), "out of memory");
  expect_error("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nlate", "HTTP 503");
  expect_error("what?\r\n\r\n", "can't read");
  expect_error("", "can't read");
}

TEST(Endpoint, Addresses) {
  const auto parse = [](std::string_view url) {
    const auto address = EndpointAddress::parse(url);
    return address ? address->host + "|" + address->port + "|" + address->base
                   : std::string(error_code_name(address.error().code));
  };
  EXPECT_EQ(parse("http://localhost:8000"), "localhost|8000|/v1");
  EXPECT_EQ(parse("http://localhost:8000/v1/"), "localhost|8000|/v1");
  EXPECT_EQ(parse("http://a.b/api/v2"), "a.b|80|/api/v2");
  EXPECT_EQ(parse("http://[::1]:80"), "::1|80|/v1");
  EXPECT_EQ(parse("https://a"), "unsupported");
  EXPECT_EQ(parse("localhost:8000"), "invalid-input");
  EXPECT_EQ(parse("http://:80"), "invalid-input");
  EXPECT_EQ(parse("http://a:"), "invalid-input");
}

}  // namespace
}  // namespace fib
