#include "integrations/serving/traffic/endpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <limits>
#include <optional>
#include <thread>
#include <utility>

#include "signatures/base/json.h"

namespace fib {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using tcp = asio::ip::tcp;

constexpr auto kConnectTimeout = std::chrono::seconds(10);
// Without a byte of an answer. A server with a long queue makes a request wait, so this is long.
constexpr auto kReadTimeout = std::chrono::minutes(10);
constexpr size_t kChunkBytes = 16 << 10;
constexpr size_t kMostErrorBytes = 64 << 10;  // of the body of an answer that isn't 200

std::string url_of(const EndpointAddress& address, std::string_view target) {
  return fmt::format("http://{}:{}{}", address.host, address.port, target);
}

http::request<http::string_body> http_request(const EndpointAddress& address,
                                              const std::string& api_key, http::verb verb,
                                              const std::string& target, std::string body) {
  http::request<http::string_body> request(verb, target, 11);
  request.set(http::field::host, address.host + ":" + address.port);
  request.set(http::field::connection, "close");
  if (!api_key.empty()) request.set(http::field::authorization, "Bearer " + api_key);
  if (!body.empty()) request.set(http::field::content_type, "application/json");
  request.body() = std::move(body);
  request.prepare_payload();
  return request;
}

std::string completion_body(const std::string& model, const EngineRequest& request) {
  const SamplingParams& sampling = request.sampling;
  return dump_json({{"model", model},
                    {"prompt", request.prompt},
                    {"max_tokens", sampling.max_tokens},
                    {"temperature", sampling.temperature},
                    {"seed", sampling.seed >> 1},  // the API's integers are signed
                    {"ignore_eos", sampling.ignore_eos},
                    {"stream", true},
                    {"stream_options", {{"include_usage", true}}}});
}

// The server's words where it has any: {"error": {"message": ...}}.
std::string error_message(unsigned status, const std::string& body) {
  if (const auto json = parse_json(body, "answer"); json && json->is_object()) {
    const auto error = json->find("error");
    if (error != json->end() && error->is_object() && error->contains("message") &&
        (*error)["message"].is_string()) {
      return fmt::format("HTTP {}: {}", status, (*error)["message"].get<std::string>());
    }
  }
  return fmt::format("HTTP {}", status);
}

// One completion, from connecting to the last event. Lives as long as an operation of it is
// pending.
class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(asio::io_context& io, const EndpointOptions& options, EngineRequest request)
      : options_(options),
        resolver_(io),
        stream_(io),
        listener_(std::move(request.listener)),
        message_(http_request(options.address, options.api_key, http::verb::post,
                              options.address.base + "/completions",
                              completion_body(options.model, request))) {
    // boost::none is taken for 0 where the answer has a length, until Boost 1.75.
    parser_.body_limit(std::numeric_limits<uint64_t>::max());
    usage_.prompt_tokens = static_cast<int>(request.prompt.size());
  }

  void start() {
    resolver_.async_resolve(options_.address.host, options_.address.port,
                            [self = shared_from_this()](auto error, auto endpoints) {
                              if (error) return self->fail_with("resolve", error);
                              self->connect(endpoints);
                            });
  }

 private:
  void connect(const tcp::resolver::results_type& endpoints) {
    stream_.expires_after(kConnectTimeout);
    stream_.async_connect(endpoints, [self = shared_from_this()](auto error, const auto&) {
      if (error) return self->fail_with("connect", error);
      boost::system::error_code ignored;
      self->stream_.socket().set_option(tcp::no_delay(true), ignored);
      self->write();
    });
  }

  void write() {
    stream_.expires_after(kReadTimeout);
    http::async_write(stream_, message_, [self = shared_from_this()](auto error, size_t) {
      if (error) return self->fail_with("send", error);
      http::async_read_header(self->stream_, self->buffer_, self->parser_,
                              [self](auto read_error, size_t) {
                                if (read_error) return self->fail_with("read", read_error);
                                self->read();
                              });
    });
  }

  void read() {
    if (parser_.is_done()) return finish();
    parser_.get().body().data = chunk_.data();
    parser_.get().body().size = chunk_.size();
    stream_.expires_after(kReadTimeout);
    http::async_read_some(
        stream_, buffer_, parser_, [self = shared_from_this()](auto error, size_t) {
          if (error && error != http::error::need_buffer) return self->fail_with("read", error);
          self->take(std::string_view(self->chunk_.data(),
                                      self->chunk_.size() - self->parser_.get().body().size));
          if (!self->has_ended_) self->read();
        });
  }

  void take(std::string_view bytes) {
    text_ += bytes;
    if (parser_.get().result() != http::status::ok) {
      if (text_.size() > kMostErrorBytes) finish();
      return;
    }
    size_t begin = 0;
    for (size_t end; (end = text_.find('\n', begin)) != text_.npos; begin = end + 1) {
      std::string_view line(text_.data() + begin, end - begin);
      if (line.ends_with('\r')) line.remove_suffix(1);
      constexpr std::string_view kPrefix = "data:";
      if (!line.starts_with(kPrefix)) continue;  // comments and the ends of events
      line.remove_prefix(kPrefix.size());
      line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
      take_event(line);
      if (has_ended_) return;
    }
    text_.erase(0, begin);
  }

  void take_event(std::string_view data) {
    if (data == "[DONE]") {
      is_complete_ = true;
      return;
    }
    const auto json = parse_json(data, "event");
    if (!json || !json->is_object()) return end_with("an event of the stream isn't JSON");
    if (const auto error = json->find("error"); error != json->end() && !error->is_null()) {
      return end_with(error_message(200, std::string(data)));
    }
    if (const auto usage = json->find("usage"); usage != json->end() && usage->is_object()) {
      take_usage(*usage);
    }
    const auto choices = json->find("choices");
    if (choices == json->end() || !choices->is_array() || choices->empty()) return;
    const Json& choice = choices->front();
    const bool has_text = choice.is_object() && choice.contains("text") &&
                          choice["text"].is_string() &&
                          !choice["text"].get_ref<const std::string&>().empty();
    const bool is_last = choice.is_object() && choice.contains("finish_reason") &&
                         !choice["finish_reason"].is_null();
    // The last event may carry no text but the reason: it isn't a token then.
    if (has_text || !is_last) listener_->on_token({});
  }

  void take_usage(const Json& usage) {
    const auto number = [](const Json& object, const char* key, int otherwise) {
      const auto found = object.find(key);
      return found != object.end() && found->is_number_integer() ? found->get<int>() : otherwise;
    };
    usage_.prompt_tokens = number(usage, "prompt_tokens", usage_.prompt_tokens);
    usage_.completion_tokens = number(usage, "completion_tokens", usage_.completion_tokens);
    const auto details = usage.find("prompt_tokens_details");
    if (details != usage.end() && details->is_object()) {
      usage_.cached_tokens = number(*details, "cached_tokens", 0);
    }
  }

  void finish() {
    const http::status status = parser_.get().result();
    if (status != http::status::ok) {
      return end_with(error_message(static_cast<unsigned>(status), text_));
    }
    if (!is_complete_) return end_with("the stream ended before [DONE]");
    end(FinishReason::kLength, std::nullopt);
  }
  void fail_with(std::string_view step, const boost::system::error_code& error) {
    end_with(fmt::format("can't {}: {}", step, error.message()));
  }
  void end_with(std::string message) {
    end(FinishReason::kError,
        Error{.code = ErrorCode::kEnvironment, .message = std::move(message)});
  }
  void end(FinishReason reason, const std::optional<Error>& error) {
    if (std::exchange(has_ended_, true)) return;
    listener_->on_end(reason, usage_, error);
    boost::system::error_code ignored;
    stream_.socket().close(ignored);
  }

  const EndpointOptions& options_;
  tcp::resolver resolver_;
  beast::tcp_stream stream_;
  std::shared_ptr<RequestListener> listener_;
  http::request<http::string_body> message_;
  beast::flat_buffer buffer_;
  http::response_parser<http::buffer_body> parser_;
  std::array<char, kChunkBytes> chunk_;
  std::string text_;  // of the stream, from the first line that isn't complete
  RequestUsage usage_;
  bool is_complete_ = false, has_ended_ = false;
};

Result<Json> ask(const EndpointAddress& address, const std::string& target,
                 const http::request<http::string_body>& message) {
  const std::string where = url_of(address, target);
  const auto unreachable = [&](const boost::system::error_code& error) {
    return fail(ErrorCode::kEnvironment, fmt::format("doesn't answer: {}", error.message()), where,
                "start the server, or correct the address");
  };
  asio::io_context io;
  beast::tcp_stream stream(io);
  http::response<http::string_body> answer;
  boost::system::error_code error;
  const auto endpoints = tcp::resolver(io).resolve(address.host, address.port, error);
  if (error) return unreachable(error);
  // Timeouts hold for asynchronous operations alone.
  const auto run = [&](auto start) {
    io.restart();
    stream.expires_after(kConnectTimeout);
    start([&](const boost::system::error_code& result) { error = result; });
    io.run();
  };
  run([&](auto done) {
    stream.async_connect(endpoints, [done](auto result, const auto&) { done(result); });
  });
  if (error) return unreachable(error);
  run([&](auto done) {
    http::async_write(stream, message, [done](auto result, size_t) { done(result); });
  });
  if (error) return unreachable(error);
  beast::flat_buffer buffer;
  run([&](auto done) {
    http::async_read(stream, buffer, answer, [done](auto result, size_t) { done(result); });
  });
  if (error) return unreachable(error);
  if (http::to_status_class(answer.result()) != http::status_class::successful) {
    return fail(ErrorCode::kEnvironment, error_message(answer.result_int(), answer.body()), where);
  }
  return parse_json(answer.body(), where);
}

Result<std::string> first_model(const EndpointOptions& options) {
  const std::string target = options.address.base + "/models";
  const std::string where = url_of(options.address, target);
  const Json json = FIB_TRY(get_json(options.address, target, options.api_key));
  const JsonView list = FIB_TRY(JsonView(json, where).at("data"));
  const std::vector<JsonView> models = FIB_TRY(list.array());
  if (models.empty()) return list.error("the server has no models");
  return FIB_TRY(models.front().at("id")).string();
}

}  // namespace

Result<Json> get_json(const EndpointAddress& address, const std::string& target,
                      const std::string& api_key) {
  return ask(address, target, http_request(address, api_key, http::verb::get, target, {}));
}

Result<Json> post_json(const EndpointAddress& address, const std::string& target,
                       const std::string& api_key, const Json& document) {
  return ask(address, target,
             http_request(address, api_key, http::verb::post, target, dump_json(document)));
}

Result<EndpointAddress> EndpointAddress::parse(std::string_view url) {
  const std::string where(url);
  constexpr std::string_view kScheme = "http://";
  if (url.starts_with("https://")) {
    return fail(ErrorCode::kUnsupported, "https isn't spoken here", where,
                "put a proxy in between that does, or use the server's http port");
  }
  if (!url.starts_with(kScheme)) {
    return fail(ErrorCode::kInvalidInput, "isn't an address", where, "http://localhost:8000");
  }
  url.remove_prefix(kScheme.size());
  EndpointAddress address;
  const size_t slash = std::min(url.find('/'), url.size());
  std::string_view path = url.substr(slash), authority = url.substr(0, slash);
  while (path.ends_with('/')) path.remove_suffix(1);
  if (!path.empty()) address.base = path;
  // An IPv6 address stands in brackets, with colons of its own.
  const size_t bracket = authority.find(']');
  const size_t colon = authority.find(':', bracket == authority.npos ? 0 : bracket);
  if (colon != authority.npos) {
    address.port = authority.substr(colon + 1);
    authority = authority.substr(0, colon);
  }
  if (authority.starts_with('[') && authority.ends_with(']')) {
    authority = authority.substr(1, authority.size() - 2);
  }
  address.host = authority;
  if (address.host.empty() || address.port.empty()) {
    return fail(ErrorCode::kInvalidInput, "has no host, or an empty port", where,
                "http://localhost:8000");
  }
  return address;
}

struct EndpointSink::Impl {
  explicit Impl(EndpointOptions given) : options(std::move(given)), work(io.get_executor()) {}

  EndpointOptions options;
  asio::io_context io{1};  // one thread, so that an exchange needs no locks
  asio::executor_work_guard<asio::io_context::executor_type> work;
  std::thread thread;
};

EndpointSink::EndpointSink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

EndpointSink::~EndpointSink() {
  impl_->io.stop();
  impl_->thread.join();
}

Result<std::unique_ptr<EndpointSink>> EndpointSink::open(EndpointOptions options) {
  const std::string listed = FIB_TRY(first_model(options));
  if (options.model.empty()) options.model = listed;
  auto impl = std::make_unique<Impl>(std::move(options));
  impl->thread = std::thread([&io = impl->io] { io.run(); });
  return std::unique_ptr<EndpointSink>(new EndpointSink(std::move(impl)));
}

const std::string& EndpointSink::model() const { return impl_->options.model; }

Result<void> EndpointSink::send(EngineRequest request) {
  const auto exchange = std::make_shared<Exchange>(impl_->io, impl_->options, std::move(request));
  asio::post(impl_->io, [exchange] { exchange->start(); });
  return {};
}

}  // namespace fib
