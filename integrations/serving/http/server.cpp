#include "integrations/serving/http/server.h"

#include <utility>

#include "integrations/serving/http/generation.h"
#include "integrations/serving/http/routes.h"

namespace fib {

struct Server::Impl {
  Impl(const ServerConfig& config, const ServedModel& model)
      : routes({.model_id = config.model_id,
                .created_s = config.created_s,
                .api_key = config.api_key,
                .seed = config.seed,
                .defaults = model.defaults,
                .signature_times = model.signature_times,
                .kernels = model.kernels},
               {.engine = model.engine,
                .tokenizer = model.tokenizer,
                .metrics = metrics,
                .live = live,
                .on_failure = model.on_failure},
               model.chat_template) {}

  const std::shared_ptr<LiveSequences> live = std::make_shared<LiveSequences>();
  Metrics metrics;
  Routes routes;
  std::unique_ptr<HttpServer> http;  // ends before what it hands requests to
};

Result<std::unique_ptr<Server>> Server::start(ServerConfig config, ServedModel model) {
  auto impl = std::make_unique<Impl>(config, model);
  impl->http = FIB_TRY(HttpServer::start({.host = std::move(config.host),
                                          .port = config.port,
                                          .threads = config.threads,
                                          .limits = config.limits},
                                         impl->routes));
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Server::~Server() {
  impl_->routes.begin_drain();
  impl_->http->abort();
  impl_->live->wait_until_none();
}

const std::string& Server::host() const { return impl_->http->host(); }
uint16_t Server::port() const { return impl_->http->port(); }

void Server::drain() {
  impl_->routes.begin_drain();
  impl_->http->drain();
}

}  // namespace fib
