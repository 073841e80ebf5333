#pragma once

// A client made of a blocking socket, which can also misbehave.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "signatures/base/json.h"

namespace fib::testing {

struct HttpAnswer {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // without its chunks' borders

  Json json() const { return parse_json(body, "answer").value(); }
  Json error() const { return json().at("error"); }
  // The data of each server-sent event but "[DONE]", which must be the last.
  std::vector<Json> events() const;
};

class HttpClient {
 public:
  explicit HttpClient(uint16_t port);
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;
  ~HttpClient();

  void send(std::string_view bytes);  // gives up where the server has closed
  void send_get(std::string_view path, std::string_view headers = {});
  void send_post(std::string_view path, std::string_view body, std::string_view headers = {});
  HttpAnswer receive();  // the next answer, whole
  HttpAnswer get(std::string_view path, std::string_view headers = {});
  HttpAnswer post(std::string_view path, const Json& body, std::string_view headers = {});

  std::string receive_until(std::string_view text);  // what has come, up to and with `text`
  bool is_at_end();  // waits for the server to close, or to say something more
  void shrink_receive_buffer();
  void close();
  void reset();  // closes in a way that the server meets an error, not an end

 private:
  bool read_more();
  std::string take(size_t size);
  std::string take_line();

  int socket_ = -1;
  std::string input_;
};

inline constexpr std::string_view kJsonHeader = "Content-Type: application/json\r\n";

}  // namespace fib::testing
