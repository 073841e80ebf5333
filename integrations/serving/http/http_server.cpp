#include "integrations/serving/http/http_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "integrations/serving/http/connection.h"

namespace fib {
namespace {

namespace net = boost::asio;
using boost::system::error_code;
using net::ip::tcp;

// Above the limit of connections, this many at a time are told so; the rest wait in the kernel.
constexpr size_t kMostTurnedAway = 64;

constexpr std::chrono::milliseconds kAcceptRetry{100};

Failure cannot_listen(const HttpServerConfig& config, const error_code& error) {
  const std::string where = fmt::format("{}:{}", config.host, config.port);
  if (error == net::error::address_in_use)
    return fail(ErrorCode::kEnvironment, "the port is in use by another program", where,
                "stop that program, or choose another port (0 takes any that is free)");
  if (error == net::error::access_denied)
    return fail(ErrorCode::kEnvironment, "this user may not listen on that port", where,
                "choose a port above 1023");
  return fail(
      ErrorCode::kEnvironment, "can't listen: " + error.message(), where,
      "give an address of this machine (127.0.0.1: only from here; 0.0.0.0: from anywhere)");
}

Result<tcp::acceptor> listen(net::io_context& io, const HttpServerConfig& config) {
  error_code error;
  tcp::resolver resolver(io);
  const auto found =
      resolver.resolve(config.host, std::to_string(config.port), tcp::resolver::passive, error);
  if (error) return cannot_listen(config, error);
  const tcp::endpoint endpoint = found.begin()->endpoint();
  tcp::acceptor acceptor(net::make_strand(io));
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(net::socket_base::max_listen_connections, error);
  if (error) return cannot_listen(config, error);
  return acceptor;
}

}  // namespace

// The acceptor's strand guards the accepting; the mutex, what other threads wait for.
struct HttpServer::Impl {
  Impl(HttpServerConfig config, HttpHandler& handler, std::unique_ptr<net::io_context> io,
       tcp::acceptor acceptor);
  ~Impl();

  size_t num_connections() const { return connections.size() + newcomers.size(); }  // locked
  void accept();
  void take(tcp::socket socket);
  void forget(Connection& connection);
  void drain();  // returns when those who were there when it began are closed
  enum class Ending { kFinish, kAbort };
  void end(Ending how);  // accepts nobody any more; returns when all connections are closed

  const HttpServerConfig config;
  HttpHandler& handler;
  std::unique_ptr<net::io_context> io;
  net::executor_work_guard<net::io_context::executor_type> work;
  tcp::acceptor acceptor;
  net::steady_timer retry;
  const tcp::endpoint endpoint;
  const std::string host;
  bool is_draining = false, is_ending = false;  // on the strand

  std::mutex mutex;
  std::condition_variable changed;
  std::set<std::shared_ptr<Connection>> connections, newcomers;  // before it drained, and since
  bool is_paused = false;  // accepting, until a connection closes
  bool has_begun_drain = false, has_stopped_accepting = false;

  std::vector<std::thread> threads;
};

HttpServer::Impl::Impl(HttpServerConfig server_config, HttpHandler& request_handler,
                       std::unique_ptr<net::io_context> context, tcp::acceptor open_acceptor)
    : config(std::move(server_config)),
      handler(request_handler),
      io(std::move(context)),
      work(net::make_work_guard(*io)),
      acceptor(std::move(open_acceptor)),
      retry(acceptor.get_executor()),
      endpoint(acceptor.local_endpoint()),
      host(endpoint.address().to_string()) {
  net::post(acceptor.get_executor(), [this] { accept(); });
  for (int i = 0; i < std::max(1, config.threads); ++i) threads.emplace_back([this] { io->run(); });
}

HttpServer::Impl::~Impl() {
  end(Ending::kAbort);
  work.reset();  // nothing is left to run: the threads come home
  for (std::thread& thread : threads) thread.join();
}

void HttpServer::Impl::accept() {
  if (is_ending) return;
  {
    const std::lock_guard lock(mutex);
    is_paused =
        num_connections() >= static_cast<size_t>(config.limits.connections) + kMostTurnedAway;
    if (is_paused) return;
  }
  acceptor.async_accept(net::make_strand(*io), [this](const error_code& error, tcp::socket socket) {
    if (is_ending) return;
    if (!error) {
      take(std::move(socket));
      return accept();
    }
    // Out of file handles, most likely: others have to close first.
    retry.expires_after(kAcceptRetry);
    retry.async_wait([this](const error_code&) { accept(); });
  });
}

void HttpServer::Impl::take(tcp::socket socket) {
  std::shared_ptr<Connection> connection;
  {
    const std::lock_guard lock(mutex);
    const bool is_one_too_many =
        num_connections() >= static_cast<size_t>(config.limits.connections);
    connection = std::make_shared<Connection>(
        std::move(socket),
        Connection::Services{.handler = handler,
                             .limits = config.limits,
                             .on_closed = [this](Connection& closed) { forget(closed); }},
        is_one_too_many ? Connection::Admission::kTurnedAway
        : is_draining   ? Connection::Admission::kOnce
                        : Connection::Admission::kServed);
    (is_draining ? newcomers : connections).insert(connection);
  }
  handler.connections_changed(+1);
  connection->start();
}

void HttpServer::Impl::forget(Connection& connection) {
  handler.connections_changed(-1);
  const std::lock_guard lock(mutex);
  const auto closed = connection.shared_from_this();
  if (connections.erase(closed) == 0) newcomers.erase(closed);
  if (std::exchange(is_paused, false)) net::post(acceptor.get_executor(), [this] { accept(); });
  changed.notify_all();
}

void HttpServer::Impl::drain() {
  net::post(acceptor.get_executor(), [this] {
    is_draining = true;
    const std::lock_guard lock(mutex);
    has_begun_drain = true;
    for (const auto& connection : connections) connection->drain();
    changed.notify_all();
  });
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return has_begun_drain && connections.empty(); });
  }
  end(Ending::kFinish);
}

void HttpServer::Impl::end(Ending how) {
  net::post(acceptor.get_executor(), [this, how] {
    is_ending = true;
    error_code ignored;
    acceptor.close(ignored);
    retry.cancel();
    const std::lock_guard lock(mutex);
    has_stopped_accepting = true;
    for (const auto* group : {&connections, &newcomers}) {
      for (const auto& connection : *group) {
        if (how == Ending::kFinish) {
          connection->finish();
        } else {
          connection->abort();
        }
      }
    }
    changed.notify_all();
  });
  std::unique_lock lock(mutex);
  changed.wait(lock, [this] { return has_stopped_accepting && num_connections() == 0; });
}

Result<std::unique_ptr<HttpServer>> HttpServer::start(HttpServerConfig config,
                                                      HttpHandler& handler) {
  auto io = std::make_unique<net::io_context>();
  tcp::acceptor acceptor = FIB_TRY(listen(*io, config));
  return std::unique_ptr<HttpServer>(new HttpServer(
      std::make_unique<Impl>(std::move(config), handler, std::move(io), std::move(acceptor))));
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

const std::string& HttpServer::host() const { return impl_->host; }
uint16_t HttpServer::port() const { return impl_->endpoint.port(); }
void HttpServer::drain() { impl_->drain(); }
void HttpServer::abort() { impl_->end(Impl::Ending::kAbort); }

}  // namespace fib
