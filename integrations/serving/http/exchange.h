#pragma once

// One HTTP request and the way back to whoever sent it; what handlers see of a connection.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "integrations/serving/http/api_error.h"

namespace fib {

// What is known before the body is read.
struct HttpHead {
  std::string method;         // "POST"
  std::string target;         // as sent: "/v1/models?x=y"
  std::string authorization;  // header fields; empty where absent
  std::string content_type;
  bool is_local = false;  // from this machine, and not for somebody else
  std::vector<std::pair<std::string, std::string>> fields;  // all header fields, in their order

  // Of the fields of that name, whatever its case.
  std::vector<std::string_view> values_of(std::string_view name) const;
};

struct HttpReply {
  int status = 200;
  std::string content_type = "application/json";  // empty: there is no body
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  // beside type, length and connection
};

// All functions but post() are called on the exchange's own strand: never two at once. Nothing of
// them blocks. What is sent to a client that has gone is dropped.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;

  virtual void reply(HttpReply reply) = 0;  // the whole answer

  // Or an answer in pieces: one start, any number of pieces, one finish. A client that lets more
  // than the connection's buffer pile up counts as gone.
  virtual void start_stream(std::string_view content_type) = 0;
  virtual void send(std::string_view piece) = 0;
  virtual void finish_stream() = 0;

  // Called once if the client goes before the answer is complete; not called after that.
  virtual void on_gone(std::function<void()> callback) = 0;

  // Runs `work` on the strand, soon. From any thread.
  virtual void post(std::function<void()> work) = 0;
};

// What the requests of a server's connections are handed to. From any of the server's threads.
class HttpHandler {
 public:
  virtual ~HttpHandler() = default;

  // What can be answered before the body is read: a wrong path, method, key or type of body.
  virtual std::optional<HttpReply> screen(const HttpHead& head) const = 0;
  // Answers what screen() let pass; on the exchange's strand.
  virtual void handle(const HttpHead& head, std::string_view body,
                      std::shared_ptr<HttpExchange> exchange) = 0;
  // Requests that are refused before a handler sees them: too long, too slow, no HTTP at all.
  virtual HttpReply refusal(const ApiError& error) const = 0;

  // For statistics.
  virtual void response_sent(int /*status*/) {}
  virtual void connections_changed(int /*by*/) {}
};

}  // namespace fib
