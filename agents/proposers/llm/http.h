#pragma once

// One HTTP POST: no redirects, certificates checked, a bounded answer. Proxies are those of curl's
// own variables (https_proxy, no_proxy, ...).

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agents/proposers/llm/curl_library.h"

namespace fib::agents {

struct HttpRequest {
  std::string url;
  std::vector<std::string> headers;  // "Name: value"
  std::string_view body;
  double timeout_s = 300.0;            // of all of it
  size_t max_bytes = size_t{8} << 20;  // of the answer
};

enum class HttpTrouble {
  kNone,  // there is an answer, whatever its status
  kCancelled,
  kTimeout,
  kUnreachable,  // no such host, nobody listens, no handshake
  kUntrusted,    // the certificate isn't its own, or can't be checked
  kCut,          // the connection ended before the answer did
  kTooLarge,
};

struct HttpAnswer {
  HttpTrouble trouble = HttpTrouble::kNone;
  std::string explanation;  // of the trouble
  int status = 0;
  double retry_after_s = 0.0;  // 0: the answer doesn't say
  std::string body;
};

// Thread-safe. Asks `cancelled` about once a second, and whenever something arrives.
HttpAnswer post(const CurlLibrary& curl, const HttpRequest& request,
                const std::function<bool()>& cancelled);

}  // namespace fib::agents
