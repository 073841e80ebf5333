#include "agents/mcp/server.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <stdexcept>

#include "agents/mcp/schema.h"
#include "signatures/base/suggest.h"

namespace fib::mcp {

namespace {

constexpr const char* kStatelessVersion = "2026-07-28";
// What of the protocol we use is the same in both.
constexpr std::array kSessionVersions = {"2025-11-25", "2025-06-18"};
constexpr const char* kVersionKey = "io.modelcontextprotocol/protocolVersion";
constexpr const char* kCapabilitiesKey = "io.modelcontextprotocol/clientCapabilities";
constexpr const char* kServerInfoKey = "io.modelcontextprotocol/serverInfo";

constexpr size_t kLongestQueue = 16;
constexpr int64_t kListTtlMs = 3'600'000;  // tools don't change while a server runs

Json supported_versions() {
  Json versions = Json::array({kStatelessVersion});
  for (const char* version : kSessionVersions) versions.push_back(version);
  return versions;
}

RpcError invalid_params(std::string message) {
  return {.code = RpcCode::kInvalidParams, .message = std::move(message), .data = {}};
}

const Json* find_meta(const Json& params) {
  const auto meta = params.find("_meta");
  return meta != params.end() && meta->is_object() ? &*meta : nullptr;
}

bool names_version(const Json& params) {
  const Json* meta = find_meta(params);
  return meta != nullptr && meta->contains(kVersionKey);
}

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

struct Server::Call {
  Json id;
  const Tool* tool = nullptr;
  Json arguments = Json::object();
  Json progress_token;  // null: the client wants to hear nothing
  Era era = Era::kSession;
  std::atomic<bool> is_cancelled = false;
};

Server::Server(ServerDescription description, std::vector<Tool> tools, Send send)
    : description_(std::move(description)),
      tools_(std::move(tools)),
      send_(std::move(send)),
      worker_([this] { work(); }) {}

Server::~Server() { abandon(); }

void Server::receive(std::string_view text) {
  const auto parsed = parse_message(text);
  if (const RpcRefusal* refusal = std::get_if<RpcRefusal>(&parsed)) {
    send(error_message(refusal->id, refusal->error));
    return;
  }
  const auto& message = std::get<std::optional<RpcMessage>>(parsed);
  if (!message) return;
  if (message->kind == RpcMessage::Kind::kRequest) {
    answer(*message);
  } else if (message->method == "notifications/cancelled") {
    cancel(message->params);
  }
}

void Server::refuse_oversized(size_t limit_bytes) {
  send(error_message({}, {.code = RpcCode::kInvalidRequest,
                          .message = fmt::format("the message has more than {} bytes", limit_bytes),
                          .data = {}}));
}

std::optional<RpcError> Server::refusal_of(const RpcMessage& message, Era era) const {
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
      return RpcError{.code = RpcCode::kUnsupportedProtocolVersion,
                      .message = "Unsupported protocol version",
                      .data = {{"supported", supported_versions()}, {"requested", version}}};
    }
    return std::nullopt;
  }
  if (message.method == "initialize") {
    if (is_initialized_) {
      return RpcError{.message = "initialize: this session is initialized already", .data = {}};
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
  if (message.method != "ping" && !is_initialized_) {
    return RpcError{
        .message = fmt::format("{}: initialize comes first, or params._meta.{} with each request",
                               message.method, kVersionKey),
        .data = {}};
  }
  return std::nullopt;
}

void Server::answer(const RpcMessage& message) {
  const Era era = names_version(message.params) ? Era::kStateless : Era::kSession;
  if (const auto refusal = refusal_of(message, era)) {
    send(error_message(message.id, *refusal));
    return;
  }
  const auto reply = [&](Json result) {
    send(result_message(message.id, complete(std::move(result), era)));
  };
  if (message.method == "tools/call") {
    call_tool(message, era);
  } else if (message.method == "tools/list") {
    if (message.params.contains("cursor")) {
      send(error_message(message.id, invalid_params("params.cursor: there is one page only")));
      return;
    }
    Json tools = Json::array();
    for (const Tool& tool : tools_) tools.push_back(tool_to_json(tool));
    Json result{{"tools", std::move(tools)}};
    if (era == Era::kStateless) result.update({{"ttlMs", kListTtlMs}, {"cacheScope", "private"}});
    reply(std::move(result));
  } else if (message.method == "initialize" && era == Era::kSession) {
    reply(initialize(message.params));
  } else if (message.method == "ping" && era == Era::kSession) {
    reply(Json::object());
  } else if (message.method == "server/discover") {
    reply({{"supportedVersions", supported_versions()},
           {"capabilities", capabilities()},
           {"instructions", description_.instructions},
           {"ttlMs", kListTtlMs},
           {"cacheScope", "private"}});
  } else {
    send(error_message(message.id,
                       {.code = RpcCode::kMethodNotFound,
                        .message = fmt::format("there is no method '{}'", message.method),
                        .data = {}}));
  }
}

Json Server::initialize(const Json& params) {
  const Json& asked = params["protocolVersion"];
  const bool is_known = std::find(kSessionVersions.begin(), kSessionVersions.end(),
                                  asked.get<std::string>()) != kSessionVersions.end();
  is_initialized_ = true;
  return {{"protocolVersion", is_known ? asked : Json(kSessionVersions.front())},
          {"capabilities", capabilities()},
          {"serverInfo", server_info()},
          {"instructions", description_.instructions}};
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

void Server::call_tool(const RpcMessage& message, Era era) {
  const auto refuse = [&](RpcError error) { send(error_message(message.id, error)); };
  const auto name = message.params.find("name");
  if (name == message.params.end() || !name->is_string()) {
    return refuse(invalid_params("params.name: must be a string"));
  }
  const auto tool = std::ranges::find(tools_, name->get<std::string>(), &Tool::name);
  if (tool == tools_.end()) {
    const std::string asked = name->get<std::string>();
    std::vector<std::string_view> names;
    for (const Tool& known : tools_) names.push_back(known.name);
    const auto nearest = nearest_word(asked, names);
    return refuse(
        invalid_params(fmt::format("params.name: there is no tool '{}'{}", asked,
                                   nearest ? fmt::format("; did you mean '{}'?", *nearest) : "")));
  }
  auto call = std::make_shared<Call>();
  call->id = message.id;
  call->tool = &*tool;
  call->era = era;
  if (const auto given = message.params.find("arguments"); given != message.params.end()) {
    call->arguments = *given;
  }
  if (const Json* meta = find_meta(message.params)) {
    const Json token = meta->value("progressToken", Json());
    if (token.is_string() || token.is_number_integer()) call->progress_token = token;
  }
  if (tool->pace == Tool::Pace::kQuick) {
    send(tool_answer(*call));
    return;
  }
  std::string trouble;
  {
    std::lock_guard lock(mutex_);
    if (queue_.size() >= kLongestQueue) {
      trouble = fmt::format("{} calls are waiting already; ask again later", kLongestQueue);
    } else if (!in_flight_.emplace(message.id.dump(), call).second) {
      trouble = "id: a request with this id is being worked on";
    } else {
      queue_.push_back(call);
    }
  }
  if (!trouble.empty()) return refuse({.message = trouble, .data = {}});
  changed_.notify_all();
}

// A bug of ours costs its own call only: what was measured before it is stored and the client may
// go on.
Json Server::tool_answer(const Call& call) {
  try {
    return result_message(call.id, tool_result(call));
  } catch (const std::logic_error& bug) {
    return error_message(call.id, {.code = RpcCode::kInternalError,
                                   .message = fmt::format("a bug in fib: {}", bug.what()),
                                   .data = {}});
  }
}

// Wrong arguments and failures are results, so that the model that called sees them.
Json Server::tool_result(const Call& call) {
  double last = -1.0;
  const ToolCall surroundings{
      .on_progress =
          [&](const ToolProgress& now) {
            // Work of several stages runs side by side; what a client is told only grows.
            if (call.progress_token.is_null() || now.done <= last) return;
            last = now.done;
            send(notification_message("notifications/progress",
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

void Server::cancel(const Json& params) {
  const auto id = params.find("requestId");
  if (id == params.end()) return;
  std::lock_guard lock(mutex_);
  // A request that was answered meanwhile is nothing unusual.
  if (const auto found = in_flight_.find(id->dump()); found != in_flight_.end()) {
    found->second->is_cancelled = true;
  }
}

void Server::work() {
  while (true) {
    std::shared_ptr<Call> call;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return is_ending_ || !queue_.empty(); });
      if (queue_.empty()) return;
      call = queue_.front();
      queue_.pop_front();
    }
    const Json answer = call->is_cancelled ? Json() : tool_answer(*call);
    {
      std::lock_guard lock(mutex_);
      in_flight_.erase(call->id.dump());
    }
    // Whoever cancels a request is owed no answer to it.
    if (!call->is_cancelled) send(answer);
  }
}

void Server::abandon() {
  {
    std::lock_guard lock(mutex_);
    queue_.clear();
    for (auto& [id, call] : in_flight_) call->is_cancelled = true;
    is_ending_ = true;
  }
  changed_.notify_all();
  if (worker_.joinable()) worker_.join();
}

void Server::send(const Json& message) {
  std::lock_guard lock(send_mutex_);
  send_(message);
}

}  // namespace fib::mcp
