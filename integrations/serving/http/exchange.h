#pragma once

// One HTTP request and the way back to whoever sent it; what routes see of a connection.

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fib {

// What is known before the body is read.
struct HttpHead {
  std::string method;         // "POST"
  std::string target;         // as sent: "/v1/models?x=y"
  std::string authorization;  // header fields; empty where absent
  std::string content_type;
  bool is_local = false;  // from this machine, and not for somebody else
};

struct HttpReply {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  // beside type, length and connection
};

// All functions but post() are called on the exchange's own strand: never two at once. Nothing of
// them blocks. What is sent to a client that has gone is dropped.
class Exchange {
 public:
  virtual ~Exchange() = default;

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

}  // namespace fib
