#pragma once

// One client's connection: reads requests, has them answered one after the other, and keeps an eye
// on whether the client is still there. It reads all the time, also while a request is answered:
// that is how a client's going is noticed at once, and what comes early is the next request's.

#include <array>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "integrations/serving/http/exchange.h"
#include "integrations/serving/http/http_server.h"

namespace fib {

class Connection : public HttpExchange, public std::enable_shared_from_this<Connection> {
 public:
  enum class Admission {
    kServed,
    kOnce,        // while the server drains: the first answer is the last
    kTurnedAway,  // one too many gets 503, whatever it asks
  };
  struct Services {  // outlives the connection's closing
    HttpHandler& handler;
    const ServerLimits& limits;
    std::function<void(Connection&)> on_closed;  // called once, on the strand
  };

  Connection(boost::asio::ip::tcp::socket socket, Services services, Admission admission);
  ~Connection() override;

  // From any thread.
  void start();
  void drain();   // closes when what it is asked is answered; now, if that is nothing
  void finish();  // the same, but a request that isn't all here is dropped
  void abort();   // closes now
  void post(std::function<void()> work) override;

  // The rest: on the strand.
  void reply(HttpReply reply) override;
  void start_stream(std::string_view content_type) override;
  void send(std::string_view piece) override;
  void finish_stream() override;
  void on_gone(std::function<void()> callback) override;

 private:
  enum class Stage {
    kReading,    // a request, or nothing yet
    kAnswering,  // from its last byte to the answer's last byte
    kLingering,  // our side is shut; the client may still be reading the answer
    kClosed,
  };
  struct Parser;
  using ErrorCode = boost::system::error_code;
  using Timer = boost::asio::steady_timer;

  void next_request();
  void read_some();
  void take_bytes(std::string_view bytes);
  void parse();
  void take_head();
  void take_request();
  void begin_answer();
  void refuse(const ApiError& error);  // and close: what follows in the stream is not understood
  void read_ended(const ErrorCode& error);
  void write(std::string_view bytes);
  void write_some();
  void answer_complete(int status);
  void after_answer();
  void linger();
  void close();
  void arm(Timer& timer, std::chrono::milliseconds delay, void (Connection::*on_expiry)());
  void disarm(Timer& timer);
  void read_expired();
  std::string header(int status, std::string_view content_type) const;
  bool keeps_alive() const;

  boost::asio::ip::tcp::socket socket_;
  const boost::asio::any_io_executor strand_;
  const Services services_;
  const Admission admission_;
  bool is_local_ = false;  // the client is on this machine
  Timer read_timer_, write_timer_;
  Stage stage_ = Stage::kReading;
  bool is_draining_ = false;
  bool has_read_end_ = false;  // the client has shut its side

  std::array<char, 16384> chunk_;  // of the one read that is always under way
  std::string input_;              // read, not parsed

  // Of the request at hand.
  std::unique_ptr<Parser> parser_;
  bool has_begun_ = false;  // its first byte is here
  bool has_head_ = false;
  bool closes_after_ = false;  // its answer is the last one
  bool is_chunked_ = false;    // of its streamed answer
  bool is_complete_ = false;   // all of its answer is in the buffers below
  HttpHead head_;
  std::function<void()> gone_;

  std::string writing_, pending_;  // on its way; not yet
  size_t written_ = 0;             // of writing_
  bool is_writing_ = false;
};

}  // namespace fib
