#pragma once

// An HTTP/1.1 server: it accepts connections, bounds what each may cost, and has a handler answer
// what they ask.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "integrations/serving/http/exchange.h"
#include "signatures/base/result.h"

namespace fib {

struct ServerLimits {
  int connections = 1024;           // more get 503
  size_t header_bytes = 16 << 10;   // of a request; more: 431
  size_t body_bytes = 4 << 20;      // more: 413
  size_t buffered_bytes = 1 << 20;  // of a stream that its client doesn't read; more: it is cut
  std::chrono::milliseconds header_timeout{10'000};  // from first byte to last; then 408
  std::chrono::milliseconds body_timeout{60'000};    // likewise
  std::chrono::milliseconds idle_timeout{75'000};    // between requests
  std::chrono::milliseconds write_timeout{30'000};   // without the client taking a byte
  std::chrono::milliseconds linger_timeout{2'000};   // for the client to take the last answer
};

struct HttpServerConfig {
  std::string host = "127.0.0.1";  // a name or an address
  uint16_t port = 0;               // 0: any that is free; port() tells which
  int threads = 2;
  ServerLimits limits;
};

class HttpServer {
 public:
  // Listens when it returns; the handler outlives it. kEnvironment: the address can't be had, with
  // what to do about it.
  static Result<std::unique_ptr<HttpServer>> start(HttpServerConfig config, HttpHandler& handler);
  ~HttpServer();  // cuts off what is left

  const std::string& host() const;  // the address it listens on
  uint16_t port() const;
  // Closes connections without a request and returns when the others have been answered what they
  // had asked. Until then who comes gets one answer, so that the handler can say that it drains;
  // after that nobody is accepted.
  void drain();
  void abort();  // closes all connections and accepts nobody any more

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fib
