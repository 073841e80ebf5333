#pragma once

// Which request is answered how: the paths of the API, in front of the engine.

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "integrations/serving/http/exchange.h"
#include "integrations/serving/http/generation.h"
#include "integrations/serving/http/kernel_control.h"
#include "integrations/serving/http/metrics.h"
#include "integrations/serving/http/openai_request.h"
#include "integrations/serving/tokenizer/tokenizer.h"

namespace fib {

struct RoutesConfig {
  std::string model_id;
  int64_t created_s = 0;  // Unix time, of the model
  std::string api_key;    // empty: nobody is asked for one
  uint64_t seed = 0;      // of requests that name none, together with their number
  GenerationDefaults defaults;
  SignatureTimes signature_times;  // may be empty
  KernelControl kernels;
};

class Routes : public HttpHandler {
 public:
  Routes(RoutesConfig config, GenerationServices services,
         const Result<ChatTemplate>& chat_template);

  std::optional<HttpReply> screen(const HttpHead& head) const override;
  void handle(const HttpHead& head, std::string_view body,
              std::shared_ptr<HttpExchange> exchange) override;
  HttpReply refusal(const ApiError& error) const override { return error_reply(error); }
  void response_sent(int status) override { services_.metrics.response_sent(status); }
  void connections_changed(int by) override { services_.metrics.connections_changed(by); }

  // From now on /health says 503, and nothing new is generated. From any thread.
  void begin_drain() { is_draining_ = true; }

 private:
  std::vector<SignatureTime> times() const;
  HttpReply kernels(const HttpHead& head, std::string_view body) const;
  void generate(OpenAiApi api, std::string_view body, std::shared_ptr<HttpExchange> exchange);
  std::optional<ApiError> check_key(const HttpHead& head) const;

  const RoutesConfig config_;
  const GenerationServices services_;
  const Result<ChatTemplate>& chat_template_;
  std::atomic<bool> is_draining_ = false;
  std::atomic<uint64_t> num_generations_ = 0;
};

}  // namespace fib
