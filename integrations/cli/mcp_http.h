#pragma once

// The streamable HTTP transport of the Model Context Protocol: each message of a client is a POST
// to /mcp, answered with one JSON object or, where there is progress to tell before, with a stream
// of server-sent events. For programs of this machine only.

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agents/mcp/server.h"
#include "integrations/cli/mcp_sessions.h"
#include "integrations/serving/http/exchange.h"

namespace fib {

struct LoopbackAddress {
  std::string host;
  uint16_t port = 0;
};

// "8931", "127.0.0.1:8931", "localhost:8931" or "[::1]:8931". Error: anything else, and addresses
// that other machines can reach.
Result<LoopbackAddress> parse_loopback_address(const std::string& text);

class McpHttp : public HttpHandler {
 public:
  explicit McpHttp(mcp::Server& server);  // which must outlive it

  // Only /mcp; only for this machine's name for itself (Host) and pages of this machine (Origin),
  // so that no web page from elsewhere reaches it by a name that it lets point here.
  std::optional<HttpReply> screen(const HttpHead& head) const override;
  void handle(const HttpHead& head, std::string_view body,
              std::shared_ptr<HttpExchange> exchange) override;
  HttpReply refusal(const ApiError& error) const override;

  // To be called every now and then: says on answers that are still to come that they will, lest
  // somebody on the way takes silence for the end.
  void keep_alive();

 private:
  class Answer;

  HttpReply end_session(const HttpHead& head);
  HttpReply open_session(const mcp::RpcMessage& message);
  void handle_stateless(const HttpHead& head, const mcp::RpcMessage& message,
                        std::shared_ptr<HttpExchange> exchange);
  void handle_in_session(const HttpHead& head, const mcp::RpcMessage& message,
                         std::shared_ptr<HttpExchange> exchange);
  std::shared_ptr<Answer> begin_answer(mcp::Era era, std::shared_ptr<HttpExchange> exchange);

  mcp::Server& server_;
  McpSessions sessions_;
  std::mutex mutex_;
  std::vector<std::weak_ptr<Answer>> answers_;  // that may still be to come
};

}  // namespace fib
