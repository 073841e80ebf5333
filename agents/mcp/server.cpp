#include "agents/mcp/server.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "agents/mcp/schema.h"
#include "signatures/base/suggest.h"

namespace fib::mcp {

namespace {

constexpr int64_t kListTtlMs = 3'600'000;  // tools don't change while a server runs

RpcError invalid_params(std::string message) {
  return {.code = RpcCode::kInvalidParams, .message = std::move(message), .data = {}};
}

RpcError refused(std::string message) { return {.message = std::move(message), .data = {}}; }

Json text_block(const std::string& text) { return {{"type", "text"}, {"text", text}}; }

Json tool_to_json(const Tool& tool) {
  return {{"name", tool.name},
          {"title", tool.title},
          {"description", tool.description},
          {"inputSchema", tool.input_schema},
          {"outputSchema", tool.output_schema},
          {"annotations",
           {{"readOnlyHint", tool.effect == Tool::Effect::kReadsOnly},
            {"destructiveHint", false},
            {"openWorldHint", false}}}};
}

}  // namespace

Server::Server(ServerDescription description, std::vector<Tool> tools)
    : description_(std::move(description)),
      tools_(std::move(tools)),
      queue_([this](Call& call) { run(call); }) {}

Server::~Server() { abandon(); }

void Server::receive(const std::shared_ptr<Conversation>& conversation, std::string_view text,
                     const Send& send) {
  const auto parsed = parse_message(text);
  if (const RpcRefusal* refusal = std::get_if<RpcRefusal>(&parsed)) {
    return send(error_message(refusal->id, refusal->error));
  }
  const auto& message = std::get<std::optional<RpcMessage>>(parsed);
  if (message) receive(conversation, *message, send);
}

void Server::receive(const std::shared_ptr<Conversation>& conversation, const RpcMessage& message,
                     const Send& send) {
  if (message.kind == RpcMessage::Kind::kRequest) {
    answer(conversation, message, send);
  } else if (message.method == "notifications/cancelled") {
    const auto id = message.params.find("requestId");
    if (id == message.params.end()) return;
    conversation->cancel(*id);
    queue_.drop_cancelled();
  }
}

void Server::cancel_all(Conversation& conversation) {
  conversation.cancel_all();
  queue_.drop_cancelled();
}

void Server::abandon() {
  for (const std::shared_ptr<Call>& call : queue_.end()) {
    if (const auto conversation = call->conversation.lock()) conversation->remove(*call);
  }
}

std::optional<RpcError> Server::refusal_of(const Conversation& conversation,
                                           const RpcMessage& message, Era era) const {
  if (era == Era::kStateless) {
    const Json& meta = *find_meta(message.params);
    const Json& version = meta[kVersionKey];
    if (!version.is_string()) {
      return invalid_params(fmt::format("params._meta.{}: must be a string", kVersionKey));
    }
    if (!meta.contains(kCapabilitiesKey) || !meta[kCapabilitiesKey].is_object()) {
      return invalid_params(fmt::format("params._meta.{}: must be an object", kCapabilitiesKey));
    }
    if (version != kStatelessVersion) {
      return unsupported_version(version);
    }
    return std::nullopt;
  }
  if (message.method == "initialize") {
    if (conversation.is_initialized()) {
      return refused("initialize: this session is initialized already");
    }
    const auto version = message.params.find("protocolVersion");
    if (version == message.params.end() || !version->is_string()) {
      return invalid_params("params.protocolVersion: must be a string");
    }
    return std::nullopt;
  }
  if (message.method == "server/discover") {
    return invalid_params(fmt::format("params._meta.{}: is missing", kVersionKey));
  }
  if (message.method != "ping" && !conversation.is_initialized()) {
    return refused(fmt::format("{}: initialize comes first, or params._meta.{} with each request",
                               message.method, kVersionKey));
  }
  return std::nullopt;
}

void Server::answer(const std::shared_ptr<Conversation>& conversation, const RpcMessage& message,
                    const Send& send) {
  const Era era = era_of(message);
  const auto refuse = [&](const RpcError& error) { send(error_message(message.id, error)); };
  const auto reply = [&](Json result) {
    send(result_message(message.id, complete(std::move(result), era)));
  };
  if (const auto refusal = refusal_of(*conversation, message, era)) return refuse(*refusal);
  if (message.method == "tools/call") {
    if (const auto refusal = call_tool(conversation, message, era, send)) refuse(*refusal);
  } else if (message.method == "tools/list") {
    if (message.params.contains("cursor")) {
      return refuse(invalid_params("params.cursor: there is one page only"));
    }
    reply(list_tools(era));
  } else if (message.method == "initialize" && era == Era::kSession) {
    conversation->initialize();
    reply(initialize(message.params));
  } else if (message.method == "ping" && era == Era::kSession) {
    reply(Json::object());
  } else if (message.method == "server/discover") {
    reply(discover());
  } else {
    refuse({.code = RpcCode::kMethodNotFound,
            .message = fmt::format("there is no method '{}'", message.method),
            .data = {}});
  }
}

Json Server::list_tools(Era era) const {
  Json tools = Json::array();
  for (const Tool& tool : tools_) tools.push_back(tool_to_json(tool));
  Json result{{"tools", std::move(tools)}};
  if (era == Era::kStateless) result.update({{"ttlMs", kListTtlMs}, {"cacheScope", "private"}});
  return result;
}

Json Server::initialize(const Json& params) const {
  const Json& asked = params["protocolVersion"];
  const bool is_known = is_session_version(asked.get<std::string>());
  return {{"protocolVersion", is_known ? asked : Json(kSessionVersions.front())},
          {"capabilities", capabilities()},
          {"serverInfo", server_info()},
          {"instructions", description_.instructions}};
}

Json Server::discover() const {
  return {{"supportedVersions", supported_versions()},
          {"capabilities", capabilities()},
          {"instructions", description_.instructions},
          {"ttlMs", kListTtlMs},
          {"cacheScope", "private"}};
}

Json Server::capabilities() const { return {{"tools", Json::object()}}; }

Json Server::server_info() const {
  return {{"name", description_.name},
          {"title", description_.title},
          {"version", description_.version}};
}

Json Server::complete(Json result, Era era) const {
  if (era == Era::kStateless) {
    result["resultType"] = "complete";
    result["_meta"] = {{kServerInfoKey, server_info()}};
  }
  return result;
}

std::optional<RpcError> Server::call_tool(const std::shared_ptr<Conversation>& conversation,
                                          const RpcMessage& message, Era era, const Send& send) {
  const auto name = message.params.find("name");
  if (name == message.params.end() || !name->is_string()) {
    return invalid_params("params.name: must be a string");
  }
  const std::string asked = name->get<std::string>();
  const auto tool = std::ranges::find(tools_, asked, &Tool::name);
  if (tool == tools_.end()) {
    std::vector<std::string_view> names;
    for (const Tool& known : tools_) names.push_back(known.name);
    const auto nearest = nearest_word(asked, names);
    return invalid_params(
        fmt::format("params.name: there is no tool '{}'{}", asked,
                    nearest ? fmt::format("; did you mean '{}'?", *nearest) : ""));
  }
  auto call = std::make_shared<Call>();
  call->id = message.id;
  call->tool = &*tool;
  call->era = era;
  call->send = send;
  call->conversation = conversation;
  if (const auto given = message.params.find("arguments"); given != message.params.end()) {
    call->arguments = *given;
  }
  if (const Json* meta = find_meta(message.params)) {
    const Json token = meta->value("progressToken", Json());
    if (token.is_string() || token.is_number_integer()) call->progress_token = token;
  }
  if (tool->pace == Tool::Pace::kQuick) {
    const std::lock_guard lock(quick_mutex_);
    send(tool_answer(*call));
    return std::nullopt;
  }
  if (!conversation->add(call)) return refused("id: a request with this id is being worked on");
  const CallQueue::Admission admission = queue_.push(call);
  if (admission == CallQueue::Admission::kQueued) return std::nullopt;
  conversation->remove(*call);
  return refused(
      admission == CallQueue::Admission::kFull
          ? fmt::format("{} calls are waiting already; ask again later", CallQueue::kLongest)
          : "the server is ending");
}

void Server::run(Call& call) {
  const Json answer = call.is_cancelled ? Json() : tool_answer(call);
  if (const auto conversation = call.conversation.lock()) conversation->remove(call);
  // Whoever cancels a request is owed no answer to it.
  if (!call.is_cancelled) call.send(answer);
}

// A bug of ours costs its own call only: what was measured before it is stored and the client may
// go on.
Json Server::tool_answer(const Call& call) const {
  try {
    return result_message(call.id, tool_result(call));
  } catch (const std::logic_error& bug) {
    return error_message(call.id, {.code = RpcCode::kInternalError,
                                   .message = fmt::format("a bug in fib: {}", bug.what()),
                                   .data = {}});
  }
}

// Wrong arguments and failures are results, so that the model that called sees them.
Json Server::tool_result(const Call& call) const {
  double last = -1.0;
  const ToolCall surroundings{
      .on_progress =
          [&](const ToolProgress& now) {
            // Work of several stages runs side by side; what a client is told only grows.
            if (call.progress_token.is_null() || now.done <= last) return;
            last = now.done;
            call.send(notification_message("notifications/progress",
                                           {{"progressToken", call.progress_token},
                                            {"progress", now.done},
                                            {"total", now.total},
                                            {"message", now.message}}));
          },
      .cancelled = [&call] { return call.is_cancelled.load(); }};
  const auto run = [&]() -> Result<ToolAnswer> {
    FIB_CHECK(check_against_schema(call.tool->input_schema, call.arguments, "arguments"));
    return call.tool->run(call.arguments, surroundings);
  };
  const Result<ToolAnswer> answer = run();
  Json result;
  if (answer) {
    result = {{"content", Json::array({text_block(answer->text)})},
              {"structuredContent", answer->structured},
              {"isError", false}};
  } else {
    result = {{"content", Json::array({text_block(answer.error().to_string())})},
              {"isError", true}};
  }
  return complete(std::move(result), call.era);
}

Json oversized_message(size_t limit_bytes) {
  return error_message({}, refused(fmt::format("the message has more than {} bytes", limit_bytes)));
}

}  // namespace fib::mcp
