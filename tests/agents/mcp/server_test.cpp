#include "agents/mcp/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <sstream>
#include <stdexcept>

#include "agents/mcp/schema.h"
#include "agents/mcp/stdio.h"

namespace fib::mcp {
namespace {

using ::testing::HasSubstr;

constexpr const char* kMeta =
    R"("_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                 "io.modelcontextprotocol/clientCapabilities": {}})";

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

// A server with an `echo`, a `wait` that ends when it is told or cancelled, and a `bug`.
class McpServer : public ::testing::Test {
 protected:
  McpServer()
      : server_({.name = "test", .title = "Test", .version = "1", .instructions = "Use echo."},
                {{.name = "echo",
                  .input_schema = object_schema({{"text", string_schema("said again")}}, {"text"}),
                  .output_schema = {{"type", "object"}},
                  .run = [](const Json& arguments, const ToolCall&) -> Result<ToolAnswer> {
                    return ToolAnswer{.structured = arguments, .text = arguments["text"]};
                  }},
                 {.name = "wait",
                  .input_schema = object_schema(Json::object()),
                  .output_schema = {{"type", "object"}},
                  .pace = Tool::Pace::kSlow,
                  .run = [this](const Json&, const ToolCall& call) { return wait(call); }},
                 {.name = "bug",
                  .input_schema = object_schema(Json::object()),
                  .output_schema = {{"type", "object"}},
                  .run = [](const Json&, const ToolCall&) -> Result<ToolAnswer> {
                    throw std::logic_error("impossible");
                  }}}) {}

  Result<ToolAnswer> wait(const ToolCall& call) {
    call.on_progress({.done = 1, .total = 3, .message = "one"});
    call.on_progress({.done = 0.5, .total = 3, .message = "late"});
    call.on_progress({.done = 2, .total = 3, .message = "two"});
    ++waiting_;
    waiting_.notify_all();
    while (!may_end_ && !call.cancelled()) std::this_thread::yield();
    ++ended_;
    ended_.notify_all();
    return ToolAnswer{.structured = Json::object(), .text = "waited"};
  }

  void take(const Json& message) {
    std::lock_guard lock(mutex_);
    sent_.push_back(message);
    changed_.notify_all();
  }

  // The next message that has not been looked at.
  Json next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return seen_ < sent_.size(); });
    return sent_[seen_++];
  }
  void receive(const std::string& text) { server_.receive(conversation_, text, send_); }
  Json ask(const std::string& text) {
    receive(text);
    return next();
  }
  int code_of(const std::string& text) { return ask(text)["error"]["code"].get<int>(); }
  void initialize() {
    ask(R"({"jsonrpc": "2.0", "id": 0, "method": "initialize",
            "params": {"protocolVersion": "2025-11-25"}})");
  }
  size_t unseen() {
    std::lock_guard lock(mutex_);
    return sent_.size() - seen_;
  }

  std::atomic<int> waiting_ = 0, ended_ = 0;
  std::atomic<bool> may_end_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Json> sent_;
  size_t seen_ = 0;
  const Send send_ = [this](const Json& message) { take(message); };
  std::shared_ptr<Conversation> conversation_ = std::make_shared<Conversation>();
  Server server_;  // ends before what its tools use
};

TEST_F(McpServer, RefusesWhatIsNoMessage) {
  EXPECT_EQ(code_of("{"), -32700);
  EXPECT_EQ(code_of("[]"), -32600);
  EXPECT_EQ(code_of("3"), -32600);
  EXPECT_EQ(code_of(R"({"jsonrpc": "1.0", "id": 1, "method": "ping"})"), -32600);
  EXPECT_EQ(code_of(R"({"jsonrpc": "2.0", "id": 1})"), -32600);
  EXPECT_EQ(code_of(R"({"jsonrpc": "2.0", "id": 1, "method": 2})"), -32600);
  EXPECT_EQ(code_of(R"({"jsonrpc": "2.0", "id": 1.5, "method": "ping"})"), -32600);
  EXPECT_EQ(code_of(R"({"jsonrpc": "2.0", "id": null, "method": "ping"})"), -32600);
  EXPECT_EQ(code_of(R"({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []})"), -32600);
  const Json refusal = ask("{");
  EXPECT_TRUE(refusal["id"].is_null());
  EXPECT_THAT(refusal["error"]["message"].get<std::string>(), HasSubstr("message"));
}

TEST_F(McpServer, SaysNothingToNotificationsAndResponses) {
  receive(R"({"jsonrpc": "2.0", "method": "notifications/initialized"})");
  receive(R"({"jsonrpc": "2.0", "method": "notifications/unheard-of"})");
  receive(R"({"jsonrpc": "2.0", "method": "notifications/cancelled"})");
  receive(R"({"jsonrpc": "2.0", "id": 9, "result": {}})");
  EXPECT_EQ(unseen(), 0u);
}

TEST_F(McpServer, WantsInitializeFirst) {
  EXPECT_EQ(code_of(R"({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})"), -32600);
  EXPECT_TRUE(ask(R"({"jsonrpc": "2.0", "id": 2, "method": "ping"})").contains("result"));
  EXPECT_EQ(code_of(R"({"jsonrpc": "2.0", "id": 3, "method": "initialize"})"), -32602);
  initialize();
  const Json list = ask(R"({"jsonrpc": "2.0", "id": "a", "method": "tools/list"})");
  EXPECT_EQ(list["id"], "a");
  EXPECT_EQ(list["result"]["tools"].size(), 3u);
  EXPECT_FALSE(list["result"].contains("resultType"));
  EXPECT_EQ(code_of(R"({"jsonrpc": "2.0", "id": 4, "method": "initialize",
                        "params": {"protocolVersion": "2025-11-25"}})"),
            -32600);
}

TEST_F(McpServer, OffersARevisionThatItSpeaks) {
  const Json result = ask(R"({"jsonrpc": "2.0", "id": 1, "method": "initialize",
                              "params": {"protocolVersion": "1999-01-01"}})")["result"];
  EXPECT_EQ(result["protocolVersion"], "2025-11-25");
  EXPECT_EQ(result["serverInfo"]["name"], "test");
  EXPECT_TRUE(result["capabilities"].contains("tools"));
}

TEST_F(McpServer, KeepsARevisionThatItSpeaks) {
  const Json result = ask(R"({"jsonrpc": "2.0", "id": 1, "method": "initialize",
                              "params": {"protocolVersion": "2025-06-18"}})")["result"];
  EXPECT_EQ(result["protocolVersion"], "2025-06-18");
}

TEST_F(McpServer, ServesRequestsThatStandForThemselves) {
  const std::string meta = kMeta;
  const Json found = ask(R"({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {)" +
                         meta + "}}")["result"];
  EXPECT_EQ(found["supportedVersions"][0], "2026-07-28");
  EXPECT_EQ(found["resultType"], "complete");
  EXPECT_TRUE(found.contains("ttlMs") && found.contains("cacheScope"));
  const Json said = ask(R"({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
      "name": "echo", "arguments": {"text": "hi"}, )" +
                        meta + "}}")["result"];
  EXPECT_EQ(said["resultType"], "complete");
  EXPECT_EQ(said["structuredContent"]["text"], "hi");
  // What only a session has is not there.
  EXPECT_EQ(code_of(R"({"jsonrpc": "2.0", "id": 3, "method": "ping", "params": {)" + meta + "}}"),
            -32601);
  // It opened no session.
  EXPECT_EQ(code_of(R"({"jsonrpc": "2.0", "id": 4, "method": "tools/list"})"), -32600);
}

TEST_F(McpServer, NamesTheRevisionsItSpeaks) {
  const Json refusal = ask(R"({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {
      "_meta": {"io.modelcontextprotocol/protocolVersion": "2099-01-01",
                "io.modelcontextprotocol/clientCapabilities": {}}}})")["error"];
  EXPECT_EQ(refusal["code"], -32022);
  EXPECT_EQ(refusal["data"]["requested"], "2099-01-01");
  EXPECT_EQ(refusal["data"]["supported"][0], "2026-07-28");
  EXPECT_EQ(code_of(R"({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {
      "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}})"),
            -32602);
  EXPECT_EQ(code_of(R"({"jsonrpc": "2.0", "id": 1, "method": "server/discover"})"), -32602);
}

TEST_F(McpServer, TellsTheModelWhatIsWrongWithItsArguments) {
  initialize();
  const Json result = ask(R"({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                              "params": {"name": "echo", "arguments": {"txt": "hi"}}})")["result"];
  EXPECT_TRUE(result["isError"].get<bool>());
  EXPECT_THAT(result["content"][0]["text"].get<std::string>(), HasSubstr("arguments.text"));
  EXPECT_THAT(ask(R"({"jsonrpc": "2.0", "id": 2, "method": "tools/call",
                      "params": {"name": "ecko"}})")["error"]["message"]
                  .get<std::string>(),
              HasSubstr("did you mean 'echo'?"));
  EXPECT_EQ(code_of(R"({"jsonrpc": "2.0", "id": 3, "method": "tools/call"})"), -32602);
  EXPECT_EQ(code_of(R"({"jsonrpc": "2.0", "id": 4, "method": "tools/list",
                        "params": {"cursor": "x"}})"),
            -32602);
  EXPECT_EQ(code_of(R"({"jsonrpc": "2.0", "id": 5, "method": "resources/list"})"), -32601);
}

TEST_F(McpServer, ABugCostsItsOwnCallOnly) {
  initialize();
  EXPECT_EQ(code_of(R"({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                        "params": {"name": "bug"}})"),
            -32603);
  EXPECT_TRUE(ask(R"({"jsonrpc": "2.0", "id": 2, "method": "ping"})").contains("result"));
}

TEST_F(McpServer, AnswersOthersWhileASlowToolRuns) {
  initialize();
  receive(R"({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                      "params": {"name": "wait", "_meta": {"progressToken": "p"}}})");
  const Json first = next(), second = next();
  EXPECT_EQ(first["method"], "notifications/progress");
  EXPECT_EQ(first["params"]["progressToken"], "p");
  EXPECT_EQ(second["params"]["progress"], 2.0) << "progress never goes back";
  EXPECT_EQ(ask(R"({"jsonrpc": "2.0", "id": 2, "method": "ping"})")["id"], 2);
  // The same id again, while the first is in flight.
  EXPECT_EQ(code_of(R"({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                        "params": {"name": "wait"}})"),
            -32600);
  may_end_ = true;
  EXPECT_EQ(next()["result"]["content"][0]["text"], "waited");
}

TEST_F(McpServer, OwesNoAnswerToWhatWasCancelled) {
  initialize();
  for (const char* id : {"1", "2"}) {
    receive(R"({"jsonrpc": "2.0", "id": )" + std::string(id) +
                    R"(, "method": "tools/call", "params": {"name": "wait"}})");
  }
  waiting_.wait(0);
  // The second waits in the queue, and never runs.
  for (const char* id : {"2", "1"}) {
    receive(R"({"jsonrpc": "2.0", "method": "notifications/cancelled",
                        "params": {"requestId": )" +
                    std::string(id) + "}}");
  }
  ended_.wait(0);
  server_.abandon();
  EXPECT_EQ(waiting_, 1);
  EXPECT_EQ(unseen(), 0u);
}

TEST_F(McpServer, KnowsConversationsApart) {
  const auto other = std::make_shared<Conversation>();
  initialize();
  const std::string wait =
      R"({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "wait"}})";
  server_.receive(other, wait, send_);
  EXPECT_EQ(next()["error"]["code"], -32600) << "only the first has been initialized";
  server_.receive(
      other, R"({"jsonrpc": "2.0", "id": 0, "method": "initialize",
                 "params": {"protocolVersion": "2025-11-25"}})",
      send_);
  next();
  receive(wait);
  waiting_.wait(0);
  // The same id is another call's there, and to cancel it doesn't touch the first.
  server_.receive(other, wait, send_);
  EXPECT_FALSE(other->is_idle());
  server_.receive(other, R"({"jsonrpc": "2.0", "method": "notifications/cancelled",
                             "params": {"requestId": 1}})",
                  send_);
  EXPECT_TRUE(other->is_idle());
  EXPECT_FALSE(conversation_->is_idle());
  may_end_ = true;
  EXPECT_EQ(next()["result"]["content"][0]["text"], "waited");
}

TEST_F(McpServer, LetsGoOfTheWayBackToAClientThatIsGone) {
  initialize();
  const std::string wait =
      R"({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "wait", )" +
      std::string(kMeta) + "}}";
  receive(wait);
  waiting_.wait(0);
  for (const bool is_server_ending : {false, true}) {
    const auto gone = std::make_shared<Conversation>();
    std::weak_ptr<int> way_back;
    {
      const auto held = std::make_shared<int>();
      way_back = held;
      server_.receive(gone, wait, [held](const Json&) { FAIL() << "nobody is there"; });
    }
    EXPECT_FALSE(way_back.expired()) << "it waits for the first";
    if (is_server_ending) {
      server_.abandon();
    } else {
      server_.cancel_all(*gone);
    }
    EXPECT_TRUE(way_back.expired());
  }
  EXPECT_EQ(waiting_, 1);
  EXPECT_THAT(ask(wait)["error"]["message"].get<std::string>(), HasSubstr("ending"));
}

TEST_F(McpServer, BoundsHowManyWait) {
  initialize();
  const auto wait = [](size_t id) {
    return R"({"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "wait"}, "id": )" +
           std::to_string(id) + "}";
  };
  receive(wait(0));
  waiting_.wait(0);
  for (size_t id = 1; id <= CallQueue::kLongest; ++id) receive(wait(id));
  EXPECT_EQ(unseen(), 0u);
  EXPECT_THAT(ask(wait(99))["error"]["message"].get<std::string>(), HasSubstr("waiting already"));
  // Whose turn will never come takes no place.
  receive(R"({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})");
  receive(wait(99));
  EXPECT_EQ(unseen(), 0u);
}

TEST_F(McpServer, AClientThatVanishesInterruptsWhatRuns) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const std::string line = R"({"jsonrpc": "2.0", "id": 1, "method": "tools/call",)"
                           R"( "params": {"name": "wait", )" +
                           one_line(kMeta) + "}}\n\n";
  ASSERT_EQ(::write(ends[1], line.data(), line.size()), static_cast<ssize_t>(line.size()));
  ::close(ends[1]);
  serve_lines(server_, ends[0], send_, [] { return false; });
  ::close(ends[0]);
  EXPECT_EQ(waiting_, ended_);
  EXPECT_EQ(unseen(), 0u);
}

TEST_F(McpServer, RefusesLinesThatAreTooLong) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const std::string lines =
      std::string(100, 'x') + "\n" + R"({"jsonrpc": "2.0", "id": 1, "method": "ping"})" + "\n";
  ASSERT_EQ(::write(ends[1], lines.data(), lines.size()), static_cast<ssize_t>(lines.size()));
  ::close(ends[1]);
  serve_lines(
      server_, ends[0], send_, [] { return false; }, 64);
  ::close(ends[0]);
  EXPECT_THAT(next()["error"]["message"].get<std::string>(), HasSubstr("more than 64 bytes"));
  EXPECT_EQ(next()["id"], 1);
}

TEST(McpLineWriter, WritesALineAMessage) {
  std::ostringstream out;
  line_writer(out)({{"text", "a\nb"}});
  EXPECT_EQ(out.str(), "{\"text\":\"a\\nb\"}\n");
}

}  // namespace
}  // namespace fib::mcp
