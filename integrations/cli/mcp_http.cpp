#include "integrations/cli/mcp_http.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <boost/beast/core/string.hpp>
#include <charconv>
#include <utility>

namespace fib {

namespace {

using mcp::Era;
using mcp::RpcCode;
using mcp::RpcError;
using mcp::RpcMessage;

constexpr const char* kPath = "/mcp";
constexpr const char* kVersionHeader = "MCP-Protocol-Version";
constexpr const char* kSessionHeader = "Mcp-Session-Id";
constexpr const char* kMethodHeader = "Mcp-Method";
constexpr const char* kNameHeader = "Mcp-Name";
constexpr const char* kEventStream = "text/event-stream";

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return result;
}

// "[::1]:80" -> "::1", "localhost:80" -> "localhost"
std::string_view host_of(std::string_view authority) {
  if (authority.starts_with('[')) {
    const size_t end = authority.find(']');
    return end == std::string_view::npos ? std::string_view() : authority.substr(1, end - 1);
  }
  return authority.substr(0, authority.find(':'));
}

bool is_loopback(std::string_view host) {
  if (lower(host) == "localhost") return true;
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(std::string(host), error);
  return !error && address.is_loopback();
}

bool is_loopback_origin(std::string_view origin) {
  const size_t scheme_end = origin.find("://");
  return scheme_end != std::string_view::npos &&
         is_loopback(host_of(origin.substr(scheme_end + 3)));
}

// Whether an Accept header lets us answer with both of the types that answers have.
bool accepts_answers(const HttpHead& head) {
  bool takes_json = false, takes_events = false;
  for (std::string_view value : head.values_of("Accept")) {
    while (!value.empty()) {
      const size_t end = std::min(value.find(','), value.size());
      std::string type = lower(value.substr(0, std::min(value.find(';'), end)));
      std::erase(type, ' ');
      const bool is_any = type == "*/*";
      takes_json |= is_any || type == "application/json" || type == "application/*";
      takes_events |= is_any || type == kEventStream || type == "text/*";
      value.remove_prefix(std::min(end + 1, value.size()));
    }
  }
  return takes_json && takes_events;
}

HttpReply json_message(int status, const Json& message) {
  return {.status = status, .body = dump_json(message) + "\n"};
}

HttpReply refuse(int status, const RpcError& error, const Json& id = {}) {
  return json_message(status, error_message(id, error));
}

HttpReply refuse(int status, std::string message, const Json& id = {}) {
  return refuse(status, RpcError{.message = std::move(message), .data = {}}, id);
}

HttpReply accepted() { return {.status = 202, .content_type = ""}; }

// The status of a response that is a JSON object. In a session all that was understood is answered
// with 200.
int status_of(const Json& response, Era era) {
  const auto error = response.find("error");
  if (error == response.end() || era == Era::kSession) return 200;
  switch (static_cast<RpcCode>((*error)["code"].get<int>())) {
    case RpcCode::kMethodNotFound: return 404;
    case RpcCode::kInternalError: return 200;
    default: return 400;
  }
}

std::string base64(std::string_view text) {
  std::string encoded(4 * ((text.size() + 2) / 3) + 1, '\0');  // the encoder adds a zero
  EVP_EncodeBlock(reinterpret_cast<unsigned char*>(encoded.data()),
                  reinterpret_cast<const unsigned char*>(text.data()),
                  static_cast<int>(text.size()));
  encoded.pop_back();
  return encoded;
}

// A header that repeats a field of the body: exactly once, and with its value. Who reads only
// headers, as a gateway, must not be told something else than we are.
std::optional<HttpReply> mismatch(const HttpHead& head, const char* name, const std::string& value,
                                  const Json& id) {
  const auto sent = head.values_of(name);
  if (sent.size() == 1 &&
      (sent[0] == value || sent[0] == fmt::format("=?base64?{}?=", base64(value)))) {
    return std::nullopt;
  }
  return refuse(400,
                {.code = RpcCode::kHeaderMismatch,
                 .message = fmt::format("Header mismatch: {} must be there once and say '{}', as "
                                        "the body does",
                                        name, value),
                 .data = {}},
                id);
}

std::optional<HttpReply> header_mismatch(const HttpHead& head, const RpcMessage& message) {
  const Json& version = (*mcp::find_meta(message.params))[mcp::kVersionKey];
  // What isn't a string is refused by the server with the field's name.
  if (version.is_string()) {
    if (auto reply = mismatch(head, kVersionHeader, version, message.id)) return reply;
  }
  if (auto reply = mismatch(head, kMethodHeader, message.method, message.id)) return reply;
  const auto name = message.params.find("name");
  if (message.method != "tools/call" || name == message.params.end() || !name->is_string()) {
    return std::nullopt;
  }
  return mismatch(head, kNameHeader, *name, message.id);
}

}  // namespace

Result<LoopbackAddress> parse_loopback_address(const std::string& text) {
  const auto refuse = [&](std::string message, std::string remedy) {
    return fail(ErrorCode::kInvalidInput, std::move(message), "--http " + text, std::move(remedy));
  };
  LoopbackAddress address{.host = "127.0.0.1"};
  const size_t colon = text.rfind(':');
  const std::string_view port = std::string_view(text).substr(colon + 1);
  const auto [end, error] = std::from_chars(port.begin(), port.end(), address.port);
  if (error != std::errc() || end != port.end()) {
    return refuse("is no address to listen on",
                  "give a port, or a host and a port: 127.0.0.1:8931");
  }
  if (colon == std::string::npos) return address;
  const std::string_view host = host_of(std::string_view(text).substr(0, colon));
  if (!is_loopback(host)) {
    return refuse("other machines could reach it, and whoever does has kernels built and run here",
                  "give 127.0.0.1; from another machine, come through a tunnel (ssh -L)");
  }
  if (lower(host) != "localhost") address.host = host;
  return address;
}

// The answer to one POST. Where nothing is told before it, it is one JSON object, with a status.
class McpHttp::Answer : public std::enable_shared_from_this<Answer> {
 public:
  Answer(Era era, std::shared_ptr<HttpExchange> exchange) : era_(era), exchange_(std::move(exchange)) {}

  // The last who could have sent something is gone: the request was cancelled.
  ~Answer() {
    if (is_complete_) return;
    exchange_->post([exchange = exchange_, is_stream = is_stream_] {
      if (!is_stream) exchange->start_stream(kEventStream);
      exchange->finish_stream();
    });
  }

  // From any thread.
  void send(const Json& message) {
    exchange_->post([self = shared_from_this(), message] { self->deliver(message); });
  }
  void keep_alive() {
    exchange_->post([self = shared_from_this()] { self->push(":\n\n"); });
  }

 private:
  // On the exchange's strand.
  void deliver(const Json& message) {
    const bool is_response = !message.contains("method");
    if (is_response && !is_stream_) {
      is_complete_ = true;
      return exchange_->reply(json_message(status_of(message, era_), message));
    }
    push(fmt::format("event: message\ndata: {}\n\n", dump_json(message)));
    if (!is_response) return;
    is_complete_ = true;
    exchange_->finish_stream();
  }

  void push(std::string_view event) {
    if (is_complete_) return;
    if (!std::exchange(is_stream_, true)) exchange_->start_stream(kEventStream);
    exchange_->send(event);
  }

  const Era era_;
  const std::shared_ptr<HttpExchange> exchange_;
  bool is_stream_ = false, is_complete_ = false;
};

McpHttp::McpHttp(mcp::Server& server) : server_(server) {}

std::optional<HttpReply> McpHttp::screen(const HttpHead& head) const {
  const auto hosts = head.values_of("Host");
  if (hosts.size() != 1 || !is_loopback(host_of(hosts[0]))) {
    return refuse(421, "Host: must be this machine's name for itself, as localhost or 127.0.0.1");
  }
  for (const std::string_view origin : head.values_of("Origin")) {
    if (!is_loopback_origin(origin)) {
      return refuse(403, fmt::format("Origin: pages of '{}' may not ask", origin));
    }
  }
  if (std::string_view(head.target).substr(0, head.target.find('?')) != kPath) {
    return refuse(404, fmt::format("there is nothing but {}", kPath));
  }
  if (head.method == "DELETE") return std::nullopt;
  if (head.method != "POST") {
    HttpReply reply = refuse(405, "messages are sent by POST; there is no stream to GET");
    reply.headers.emplace_back("Allow", "POST, DELETE");
    return reply;
  }
  if (lower(head.content_type.substr(0, head.content_type.find(';'))) != "application/json") {
    return refuse(415, "Content-Type: must be application/json");
  }
  if (!accepts_answers(head)) {
    return refuse(406, "Accept: must name application/json and text/event-stream");
  }
  return std::nullopt;
}

void McpHttp::handle(const HttpHead& head, std::string_view body,
                     std::shared_ptr<HttpExchange> exchange) {
  if (head.method == "DELETE") return exchange->reply(end_session(head));
  const auto parsed = mcp::parse_message(body);
  if (const mcp::RpcRefusal* refusal = std::get_if<mcp::RpcRefusal>(&parsed)) {
    return exchange->reply(refuse(400, refusal->error, refusal->id));
  }
  const auto& message = std::get<std::optional<RpcMessage>>(parsed);
  // A response: to nothing of ours.
  if (!message) return exchange->reply(accepted());
  if (mcp::era_of(*message) == Era::kStateless) {
    handle_stateless(head, *message, std::move(exchange));
  } else {
    handle_in_session(head, *message, std::move(exchange));
  }
}

void McpHttp::handle_stateless(const HttpHead& head, const RpcMessage& message,
                               std::shared_ptr<HttpExchange> exchange) {
  // None means anything here: a client cancels by closing the request's own connection.
  if (message.kind == RpcMessage::Kind::kNotification) return exchange->reply(accepted());
  if (auto reply = header_mismatch(head, message)) return exchange->reply(std::move(*reply));
  const auto conversation = std::make_shared<mcp::Conversation>();
  exchange->on_gone([this, conversation] { server_.cancel_all(*conversation); });
  const auto answer = begin_answer(Era::kStateless, std::move(exchange));
  server_.receive(conversation, message, [answer](const Json& sent) { answer->send(sent); });
}

void McpHttp::handle_in_session(const HttpHead& head, const RpcMessage& message,
                                std::shared_ptr<HttpExchange> exchange) {
  const bool is_request = message.kind == RpcMessage::Kind::kRequest;
  for (const std::string_view version : head.values_of(kVersionHeader)) {
    if (mcp::is_session_version(version)) continue;
    if (version != mcp::kStatelessVersion) {
      return exchange->reply(refuse(400, mcp::unsupported_version(version), message.id));
    }
    if (!is_request) return exchange->reply(accepted());
    return exchange->reply(
        refuse(400,
               {.code = RpcCode::kHeaderMismatch,
                .message = fmt::format("Header mismatch: {} says {}, and "
                                       "params._meta.{} is missing",
                                       kVersionHeader, version, mcp::kVersionKey),
                .data = {}},
               message.id));
  }
  if (is_request && message.method == "initialize") return exchange->reply(open_session(message));
  const auto ids = head.values_of(kSessionHeader);
  if (ids.size() != 1) {
    return exchange->reply(
        refuse(400, fmt::format("{}: is missing; initialize opens a session", kSessionHeader),
               message.id));
  }
  const auto conversation = sessions_.find(std::string(ids[0]));
  if (!conversation) {
    return exchange->reply(refuse(
        404,
        fmt::format("{}: there is no such session (any more): initialize again", kSessionHeader),
        message.id));
  }
  if (!is_request) {
    server_.receive(conversation, message, [](const Json&) {});
    return exchange->reply(accepted());
  }
  // In these revisions a lost connection doesn't mean that the client has lost interest.
  const auto answer = begin_answer(Era::kSession, std::move(exchange));
  server_.receive(conversation, message, [answer](const Json& sent) { answer->send(sent); });
}

HttpReply McpHttp::open_session(const RpcMessage& message) {
  const auto conversation = std::make_shared<mcp::Conversation>();
  Json response;
  server_.receive(conversation, message, [&](const Json& sent) { response = sent; });
  if (!response.contains("result")) return json_message(200, response);
  const auto id = sessions_.open(conversation);
  if (!id) {
    return refuse(503, fmt::format("{} sessions are at work already", McpSessions::kMost),
                  message.id);
  }
  HttpReply reply = json_message(200, response);
  reply.headers.emplace_back(kSessionHeader, *id);
  return reply;
}

HttpReply McpHttp::end_session(const HttpHead& head) {
  const auto ids = head.values_of(kSessionHeader);
  if (ids.size() != 1) return refuse(400, fmt::format("{}: is missing", kSessionHeader));
  const auto conversation = sessions_.close(std::string(ids[0]));
  if (!conversation)
    return refuse(404, fmt::format("{}: there is no such session", kSessionHeader));
  server_.cancel_all(*conversation);
  return {.status = 200, .content_type = ""};
}

std::shared_ptr<McpHttp::Answer> McpHttp::begin_answer(Era era,
                                                       std::shared_ptr<HttpExchange> exchange) {
  auto answer = std::make_shared<Answer>(era, std::move(exchange));
  const std::lock_guard lock(mutex_);
  answers_.push_back(answer);
  return answer;
}

HttpReply McpHttp::refusal(const ApiError& error) const {
  HttpReply reply = refuse(error.status, error.message);
  if (error.retry_after_s > 0) {
    reply.headers.emplace_back("Retry-After", std::to_string(error.retry_after_s));
  }
  return reply;
}

void McpHttp::keep_alive() {
  std::vector<std::shared_ptr<Answer>> waiting;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(answers_, [](const std::weak_ptr<Answer>& answer) { return answer.expired(); });
    for (const std::weak_ptr<Answer>& weak : answers_) {
      if (auto answer = weak.lock()) waiting.push_back(std::move(answer));
    }
  }
  for (const auto& answer : waiting) answer->keep_alive();
}

}  // namespace fib
