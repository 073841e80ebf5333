#pragma once

// Replays against any server with an OpenAI-compatible API, over HTTP: prompts as token ids to
// /v1/completions, answers as a stream of events, a connection a request.

#include <memory>
#include <string>
#include <string_view>

#include "integrations/serving/traffic/replay.h"
#include "signatures/base/json.h"

namespace fib {

struct EndpointAddress {
  std::string host;
  std::string port = "80";
  std::string base = "/v1";  // path in front of /completions

  // "http://localhost:8000", with or without "/v1". kUnsupported for https: put a proxy between.
  static Result<EndpointAddress> parse(std::string_view url);
};

// One JSON document of the server, as "/fib/kernels". kEnvironment: nobody answers, or with an error.
Result<Json> get_json(const EndpointAddress& address, const std::string& target,
                      const std::string& api_key);
// The same for a document that is sent.
Result<Json> post_json(const EndpointAddress& address, const std::string& target,
                       const std::string& api_key, const Json& document);

struct EndpointOptions {
  EndpointAddress address;
  std::string api_key;  // empty: none is sent
  std::string model;    // as the server calls it; empty: the first that it lists
};

// One event of the stream counts as one token, which it is for servers that send each token as it
// comes. Servers that don't know `ignore_eos` may answer with fewer tokens than asked for.
class EndpointSink final : public RequestSink {
 public:
  // Asks for /models, so that a wrong address is an error here. kEnvironment: nobody answers.
  static Result<std::unique_ptr<EndpointSink>> open(EndpointOptions options);
  ~EndpointSink() override;  // cuts off what is under way

  const std::string& model() const;
  Result<void> send(EngineRequest request) override;

 private:
  struct Impl;
  explicit EndpointSink(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fib
