#pragma once

// JSON-RPC 2.0 as the Model Context Protocol uses it: one message a text, ids are strings or
// integers, no batches.

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "signatures/base/json.h"

namespace fib::mcp {

enum class RpcCode : int {
  kParseError = -32700,
  kInvalidRequest = -32600,
  kMethodNotFound = -32601,
  kInvalidParams = -32602,
  kInternalError = -32603,
  // Defined by the Model Context Protocol.
  kHeaderMismatch = -32020,
  kUnsupportedProtocolVersion = -32022,
};

// What a peer is told instead of a result.
struct RpcError {
  RpcCode code = RpcCode::kInvalidRequest;
  std::string message;
  Json data;  // null: none
};

struct RpcMessage {
  enum class Kind { kRequest, kNotification };
  Kind kind = Kind::kRequest;
  Json id;  // of a request
  std::string method;
  Json params = Json::object();
};

// A text that is no message, with the id to answer under: null where there was none to read.
struct RpcRefusal {
  Json id;
  RpcError error;
};

// A response (we never ask anything) is nothing to act on: nullopt.
std::variant<std::optional<RpcMessage>, RpcRefusal> parse_message(std::string_view text);

Json result_message(const Json& id, Json result);
Json error_message(const Json& id, const RpcError& error);
Json notification_message(std::string_view method, Json params);

}  // namespace fib::mcp
