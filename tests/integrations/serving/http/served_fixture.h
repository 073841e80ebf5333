#pragma once

// A server over a FakeEngine, on a port of its own.

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "integrations/serving/http/generation.h"
#include "integrations/serving/http/server.h"
#include "tests/integrations/serving/http/byte_model.h"
#include "tests/integrations/serving/http/fake_engine.h"
#include "tests/integrations/serving/http/http_client.h"

namespace fib::testing {

class Served : public ::testing::Test {
 protected:
  // Tests set these before start().
  FakeEngineOptions engine_options_;
  ServerConfig config_{.port = 0, .model_id = "org/m", .created_s = 1700000000};
  SignatureTimes signature_times_;
  KernelControl kernels_;
  FailureListener on_failure_;
  ByteModel model_;

  void start() {
    engine_ = std::make_unique<FakeEngine>(engine_options_);
    auto server = Server::start(config_, {.engine = *engine_,
                                          .tokenizer = model_.tokenizer(),
                                          .chat_template = model_.chat_template(),
                                          .defaults = model_.defaults(),
                                          .signature_times = signature_times_,
                                          .kernels = kernels_,
                                          .on_failure = on_failure_});
    ASSERT_TRUE(server) << server.error().to_string();
    server_ = std::move(*server);
  }

  void TearDown() override {
    server_.reset();  // returns only when the engine has let go of all
    if (engine_) {
      EXPECT_EQ(engine_->stats().running + engine_->stats().waiting, 0);
    }
  }

  uint16_t port() const { return server_->port(); }

  static Json completion(std::string_view prompt, Json more = Json::object()) {
    Json body = {{"model", "org/m"}, {"prompt", prompt}, {"max_tokens", 100}};
    body.update(more);
    return body;
  }
  static Json chat(std::string_view text, Json more = Json::object()) {
    Json body = {{"model", "org/m"},
                 {"messages", Json::array({{{"role", "user"}, {"content", text}}})},
                 {"max_tokens", 100}};
    body.update(more);
    return body;
  }

  // The choices' texts of a stream of completions, by index.
  static std::map<int, std::string> texts(const std::vector<Json>& events) {
    std::map<int, std::string> texts;
    for (const Json& event : events)
      for (const Json& choice : event.at("choices"))
        texts[choice.at("index").get<int>()] += choice.at("text").get<std::string>();
    return texts;
  }

  std::unique_ptr<FakeEngine> engine_;
  std::unique_ptr<Server> server_;
};

}  // namespace fib::testing
