#pragma once

// The OpenAI-compatible HTTP server in front of an Engine.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "integrations/serving/engine/engine.h"
#include "integrations/serving/http/http_server.h"
#include "integrations/serving/http/kernel_control.h"
#include "integrations/serving/http/metrics.h"
#include "integrations/serving/http/openai_request.h"
#include "integrations/serving/tokenizer/tokenizer.h"

namespace fib {

struct ServerConfig {
  std::string host = "127.0.0.1";  // a name or an address
  uint16_t port = 8000;            // 0: any that is free; port() tells which
  int threads = 2;
  ServerLimits limits;
  std::string api_key;  // empty: none is asked for
  std::string model_id;
  int64_t created_s = 0;  // Unix time, as /v1/models tells it
  uint64_t seed = 0;      // of requests that name none; the same for the same answers
};

struct ServedModel {  // what it refers to outlives the server
  Engine& engine;
  const Tokenizer& tokenizer;
  // An error: the server has completions alone, and answers chats with it.
  const Result<ChatTemplate>& chat_template;
  GenerationDefaults defaults;
  SignatureTimes signature_times;  // for /metrics; may be empty
  KernelControl kernels;           // for /fib/kernels
  std::function<void(const Error&)> on_failure;  // see FailureListener; may be empty
};

class Server {
 public:
  // Listens when it returns. kEnvironment: the address can't be had, with what to do about it.
  static Result<std::unique_ptr<Server>> start(ServerConfig config, ServedModel model);
  ~Server();  // cuts off what is left, and waits until the engine has let go of it

  const std::string& host() const;  // the address it listens on
  uint16_t port() const;
  // Answers what has been asked and returns. Until then who comes is told that it drains: 503 for
  // all but the metrics and the model's name.
  void drain();

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fib
