#include "agents/mcp/json_rpc.h"

namespace fib::mcp {

namespace {

RpcRefusal refuse(const Json& id, RpcCode code, std::string message) {
  return {.id = id, .error = {.code = code, .message = std::move(message), .data = {}}};
}

}  // namespace

std::variant<std::optional<RpcMessage>, RpcRefusal> parse_message(std::string_view text) {
  auto json = parse_json(text, "message");
  if (!json) return refuse({}, RpcCode::kParseError, json.error().to_string());
  if (json->is_array()) {
    return refuse({}, RpcCode::kInvalidRequest, "batches are not served: send one message a line");
  }
  if (!json->is_object()) {
    return refuse({}, RpcCode::kInvalidRequest, "a message is a JSON object");
  }
  Json id;
  if (const auto found = json->find("id"); found != json->end()) {
    if (!found->is_string() && !found->is_number_integer()) {
      return refuse({}, RpcCode::kInvalidRequest, "id: must be a string or an integer");
    }
    id = *found;
  }
  if (json->value("jsonrpc", Json()) != "2.0") {
    return refuse(id, RpcCode::kInvalidRequest, "jsonrpc: must be \"2.0\"");
  }
  const auto method = json->find("method");
  if (method == json->end()) {
    if (json->contains("result") || json->contains("error")) return std::nullopt;
    return refuse(id, RpcCode::kInvalidRequest, "method: is missing");
  }
  if (!method->is_string()) {
    return refuse(id, RpcCode::kInvalidRequest, "method: must be a string");
  }
  RpcMessage message{
      .kind = id.is_null() ? RpcMessage::Kind::kNotification : RpcMessage::Kind::kRequest,
      .id = id,
      .method = method->get<std::string>()};
  if (const auto params = json->find("params"); params != json->end()) {
    if (!params->is_object()) {
      return refuse(id, RpcCode::kInvalidRequest, "params: must be an object");
    }
    message.params = *params;
  }
  return message;
}

Json result_message(const Json& id, Json result) {
  return {{"jsonrpc", "2.0"}, {"id", id}, {"result", std::move(result)}};
}

Json error_message(const Json& id, const RpcError& error) {
  Json body{{"code", static_cast<int>(error.code)}, {"message", error.message}};
  if (!error.data.is_null()) body["data"] = error.data;
  return {{"jsonrpc", "2.0"}, {"id", id}, {"error", std::move(body)}};
}

Json notification_message(std::string_view method, Json params) {
  return {{"jsonrpc", "2.0"}, {"method", method}, {"params", std::move(params)}};
}

}  // namespace fib::mcp
