#include "integrations/serving/http/connection.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <boost/asio/post.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <ctime>
#include <utility>

namespace fib {
namespace {

namespace net = boost::asio;
namespace http = boost::beast::http;

std::string text_of(const boost::beast::string_view& view) {
  return std::string(view.data(), view.size());
}

ApiError parse_error(const boost::system::error_code& error, const ServerLimits& limits) {
  if (error == http::error::body_limit)
    return {.status = 413,
            .message = fmt::format("The body is larger than {} bytes.", limits.body_bytes),
            .code = "request_too_large"};
  if (error == http::error::header_limit)
    return {.status = 431,
            .message = fmt::format("The header is larger than {} bytes.", limits.header_bytes),
            .code = "header_too_large"};
  return {.message = fmt::format("Not an HTTP request: {}.", error.message()),
          .code = "invalid_http"};
}

// A proxy on this machine says whom it asks for.
bool is_forwarded(const http::fields& fields) {
  for (const char* name : {"Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"}) {
    if (fields.find(name) != fields.end()) return true;
  }
  return false;
}

}  // namespace

struct Connection::Parser {
  http::request_parser<http::string_body> http;

  explicit Parser(const ServerLimits& limits) {
    http.header_limit(static_cast<uint32_t>(limits.header_bytes));
    http.body_limit(limits.body_bytes);
  }
};

Connection::Connection(net::ip::tcp::socket socket, Services services, Admission admission)
    : socket_(std::move(socket)),
      strand_(socket_.get_executor()),
      services_(std::move(services)),
      admission_(admission),
      read_timer_(strand_),
      write_timer_(strand_) {}

Connection::~Connection() = default;

void Connection::start() {
  post([this] {
    ErrorCode ignored;
    socket_.set_option(net::ip::tcp::no_delay(true), ignored);  // a token is a packet
    const net::ip::address peer = socket_.remote_endpoint(ignored).address();
    is_local_ = peer.is_loopback() ||
                (peer.is_v6() && peer.to_v6().is_v4_mapped() &&
                 net::ip::make_address_v4(net::ip::v4_mapped, peer.to_v6()).is_loopback());
    next_request();
    read_some();
  });
}

void Connection::drain() {
  post([this] {
    is_draining_ = true;
    if (stage_ == Stage::kReading && !has_begun_) close();
  });
}

void Connection::finish() {
  post([this] {
    is_draining_ = true;
    if (stage_ == Stage::kReading) close();
  });
}

void Connection::abort() {
  post([this] { close(); });
}

void Connection::post(std::function<void()> work) {
  net::post(strand_, [self = shared_from_this(), work = std::move(work)] { work(); });
}

void Connection::on_gone(std::function<void()> callback) { gone_ = std::move(callback); }

// --- reading

void Connection::next_request() {
  stage_ = Stage::kReading;
  parser_ = std::make_unique<Parser>(services_.limits);
  has_begun_ = has_head_ = is_chunked_ = is_complete_ = false;
  closes_after_ = admission_ != Admission::kServed;
  head_ = {};
  arm(read_timer_, services_.limits.idle_timeout, &Connection::read_expired);
  take_bytes({});
}

void Connection::read_some() {
  socket_.async_read_some(net::buffer(chunk_),
                          [self = shared_from_this()](const ErrorCode& error, size_t size) {
                            if (self->stage_ == Stage::kClosed) return;
                            if (error) return self->read_ended(error);
                            self->take_bytes({self->chunk_.data(), size});
                            if (self->stage_ != Stage::kClosed) self->read_some();
                          });
}

void Connection::take_bytes(std::string_view bytes) {
  if (stage_ == Stage::kLingering) return;
  input_ += bytes;
  const ServerLimits& limits = services_.limits;
  if (stage_ == Stage::kReading && !input_.empty()) {
    if (!std::exchange(has_begun_, true))
      arm(read_timer_, limits.header_timeout, &Connection::read_expired);
    parse();
  }
  // Requests sent ahead wait; more than one of the largest is more than we keep.
  if (stage_ == Stage::kAnswering && input_.size() > limits.header_bytes + limits.body_bytes)
    close();
}

void Connection::parse() {
  while (stage_ == Stage::kReading && !input_.empty()) {
    ErrorCode error;
    input_.erase(0, parser_->http.put(net::const_buffer(input_.data(), input_.size()), error));
    if (error == http::error::need_more) return;
    if (error) return refuse(parse_error(error, services_.limits));
    if (parser_->http.is_header_done() && !std::exchange(has_head_, true)) take_head();
    if (stage_ == Stage::kReading && parser_->http.is_done()) take_request();
  }
}

void Connection::take_head() {
  const auto& message = parser_->http.get();
  head_ = {.method = text_of(message.method_string()),
           .target = text_of(message.target()),
           .authorization = text_of(message[http::field::authorization]),
           .content_type = text_of(message[http::field::content_type]),
           .is_local = is_local_ && !is_forwarded(message)};
  for (const auto& field : message) {
    head_.fields.emplace_back(text_of(field.name_string()), text_of(field.value()));
  }
  if (admission_ == Admission::kTurnedAway)
    return refuse({.status = 503,
                   .message = "The server has as many connections as it may have.",
                   .type = "server_error",
                   .code = "too_many_connections",
                   .retry_after_s = 1});
  if (auto answer = services_.handler.screen(head_)) {
    // A body that is not read can't be told from the next request.
    if (!parser_->http.is_done()) closes_after_ = true;
    begin_answer();
    return reply(std::move(*answer));
  }
  arm(read_timer_, services_.limits.body_timeout, &Connection::read_expired);
  if (boost::beast::iequals(message[http::field::expect], "100-continue") &&
      !parser_->http.is_done() && input_.empty())
    write("HTTP/1.1 100 Continue\r\n\r\n");
}

void Connection::take_request() {
  begin_answer();
  const std::string body = std::move(parser_->http.get().body());
  services_.handler.handle(head_, body, shared_from_this());
}

void Connection::begin_answer() {
  stage_ = Stage::kAnswering;
  disarm(read_timer_);
}

void Connection::refuse(const ApiError& error) {
  begin_answer();
  closes_after_ = true;
  reply(services_.handler.refusal(error));
}

void Connection::read_ended(const ErrorCode& error) {
  // Who has asked and shuts their side may still read an answer that is there already.
  if (error == net::error::eof && stage_ == Stage::kAnswering && is_complete_) {
    has_read_end_ = closes_after_ = true;
    return;
  }
  close();
}

void Connection::read_expired() {
  if (!has_begun_) return close();
  refuse({.status = 408,
          .message = "The request was not complete in time.",
          .code = "request_timeout"});
}

// --- answering

bool Connection::keeps_alive() const {
  return !closes_after_ && !is_draining_ && parser_->http.get().keep_alive();
}

std::string Connection::header(int status, std::string_view content_type) const {
  return fmt::format("HTTP/1.1 {} {}\r\nDate: {:%a, %d %b %Y %H:%M:%S} GMT\r\n{}Connection: {}\r\n",
                     status, text_of(http::obsolete_reason(static_cast<http::status>(status))),
                     fmt::gmtime(std::time(nullptr)),
                     content_type.empty() ? "" : fmt::format("Content-Type: {}\r\n", content_type),
                     keeps_alive() ? "keep-alive" : "close");
}

void Connection::reply(HttpReply reply) {
  if (stage_ == Stage::kClosed) return;
  std::string text = header(reply.status, reply.content_type);
  for (const auto& [name, value] : reply.headers) text += fmt::format("{}: {}\r\n", name, value);
  text += fmt::format("Content-Length: {}\r\n\r\n", reply.body.size());
  if (head_.method != "HEAD") text += reply.body;
  closes_after_ = !keeps_alive();
  write(text);
  answer_complete(reply.status);
}

void Connection::start_stream(std::string_view content_type) {
  if (stage_ == Stage::kClosed) return;
  is_chunked_ = parser_->http.get().version() >= 11;
  if (!is_chunked_) closes_after_ = true;  // the end of the connection is the end of the answer
  // The second is for proxies that gather what they pass on.
  std::string text =
      header(200, content_type) + "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n";
  if (is_chunked_) text += "Transfer-Encoding: chunked\r\n";
  closes_after_ = !keeps_alive();
  write(text + "\r\n");
}

void Connection::send(std::string_view piece) {
  write(is_chunked_ ? fmt::format("{:x}\r\n{}\r\n", piece.size(), piece) : std::string(piece));
  if (pending_.size() > services_.limits.buffered_bytes) close();
}

void Connection::finish_stream() {
  if (stage_ == Stage::kClosed) return;
  if (is_chunked_) write("0\r\n\r\n");
  answer_complete(200);
}

void Connection::answer_complete(int status) {
  services_.handler.response_sent(status);
  is_complete_ = true;
  gone_ = nullptr;
  if (!is_writing_) after_answer();
}

void Connection::write(std::string_view bytes) {
  if (stage_ == Stage::kClosed) return;
  pending_ += bytes;
  if (!is_writing_) write_some();
}

void Connection::write_some() {
  if (written_ == writing_.size()) {
    writing_ = std::exchange(pending_, {});
    written_ = 0;
  }
  is_writing_ = !writing_.empty();
  if (!is_writing_) {
    disarm(write_timer_);
    if (is_complete_) after_answer();
    return;
  }
  arm(write_timer_, services_.limits.write_timeout, &Connection::close);
  socket_.async_write_some(net::buffer(writing_.data() + written_, writing_.size() - written_),
                           [self = shared_from_this()](const ErrorCode& error, size_t size) {
                             if (self->stage_ == Stage::kClosed) return;
                             if (error) return self->close();
                             self->written_ += size;
                             self->write_some();
                           });
}

void Connection::after_answer() {
  if (closes_after_ || is_draining_) return linger();
  next_request();
}

// --- ending

// To close with bytes unread would reset the connection, and the client might lose the answer.
void Connection::linger() {
  if (has_read_end_) return close();
  stage_ = Stage::kLingering;
  ErrorCode ignored;
  socket_.shutdown(net::ip::tcp::socket::shutdown_send, ignored);
  arm(read_timer_, services_.limits.linger_timeout, &Connection::close);
}

void Connection::close() {
  if (std::exchange(stage_, Stage::kClosed) == Stage::kClosed) return;
  ErrorCode ignored;
  socket_.close(ignored);
  disarm(read_timer_);
  disarm(write_timer_);
  if (const auto gone = std::exchange(gone_, nullptr)) gone();
  services_.on_closed(*this);
}

void Connection::arm(Timer& timer, std::chrono::milliseconds delay,
                     void (Connection::*on_expiry)()) {
  timer.expires_after(delay);
  timer.async_wait([self = shared_from_this(), &timer, on_expiry](const ErrorCode& error) {
    // One that was already on its way when the timer was set anew must not count.
    if (!error && timer.expiry() <= Timer::clock_type::now()) ((*self).*on_expiry)();
  });
}

void Connection::disarm(Timer& timer) { timer.expires_at(Timer::time_point::max()); }

}  // namespace fib
