#include "tests/integrations/serving/http/http_client.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace fib::testing {

std::vector<Json> HttpAnswer::events() const {
  constexpr std::string_view kPrefix = "data: ", kEnd = "\n\n";
  std::vector<Json> events;
  for (std::string_view rest = body; !rest.empty();) {
    const size_t end = rest.find(kEnd);
    if (!rest.starts_with(kPrefix) || end == rest.npos)
      throw std::runtime_error("not a stream of events: " + std::string(rest));
    const std::string_view data = rest.substr(kPrefix.size(), end - kPrefix.size());
    rest.remove_prefix(end + kEnd.size());
    if (data == "[DONE]") {
      if (!rest.empty()) throw std::runtime_error("events after [DONE]: " + std::string(rest));
      return events;
    }
    events.push_back(parse_json(data, "event").value());
  }
  throw std::runtime_error("no [DONE]");
}

HttpClient::HttpClient(uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    throw std::runtime_error("can't connect");
}

HttpClient::~HttpClient() { close(); }

void HttpClient::close() {
  if (socket_ >= 0) ::close(std::exchange(socket_, -1));
}

void HttpClient::reset() {
  const linger hard{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  close();
}

void HttpClient::shrink_receive_buffer() {
  const int size = 4096;
  ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

void HttpClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

void HttpClient::send_get(std::string_view path, std::string_view headers) {
  send(fmt::format("GET {} HTTP/1.1\r\nHost: test\r\n{}\r\n", path, headers));
}

void HttpClient::send_post(std::string_view path, std::string_view body, std::string_view headers) {
  send(fmt::format("POST {} HTTP/1.1\r\nHost: test\r\n{}Content-Length: {}\r\n{}\r\n{}", path,
                   kJsonHeader, body.size(), headers, body));
}

HttpAnswer HttpClient::get(std::string_view path, std::string_view headers) {
  send_get(path, headers);
  return receive();
}

HttpAnswer HttpClient::post(std::string_view path, const Json& body, std::string_view headers) {
  send_post(path, dump_json(body), headers);
  return receive();
}

bool HttpClient::read_more() {
  char buffer[16384];
  const ssize_t size = ::recv(socket_, buffer, sizeof buffer, 0);
  if (size > 0) input_.append(buffer, static_cast<size_t>(size));
  return size > 0;
}

std::string HttpClient::take(size_t size) {
  while (input_.size() < size)
    if (!read_more()) throw std::runtime_error("the connection ended in an answer");
  std::string taken = input_.substr(0, size);
  input_.erase(0, size);
  return taken;
}

std::string HttpClient::receive_until(std::string_view text) {
  size_t at;
  while ((at = input_.find(text)) == std::string::npos)
    if (!read_more())
      throw std::runtime_error(fmt::format("the connection ended before '{}': {}", text, input_));
  return take(at + text.size());
}

std::string HttpClient::take_line() {
  std::string line = receive_until("\r\n");
  line.resize(line.size() - 2);
  return line;
}

bool HttpClient::is_at_end() { return input_.empty() && !read_more(); }

HttpAnswer HttpClient::receive() {
  HttpAnswer answer;
  const std::string status = take_line();
  answer.status = std::stoi(status.substr(status.find(' ') + 1));
  for (std::string line = take_line(); !line.empty(); line = take_line()) {
    const size_t colon = line.find(": ");
    std::string name = line.substr(0, colon);
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
    answer.headers[name] = line.substr(colon + 2);
  }
  if (const auto length = answer.headers.find("content-length"); length != answer.headers.end()) {
    answer.body = take(std::stoul(length->second));
  } else if (answer.headers.contains("transfer-encoding")) {
    while (const size_t size = std::stoul(take_line(), nullptr, 16)) {
      answer.body += take(size);
      take(2);
    }
    take(2);
  } else {
    while (read_more()) continue;
    answer.body = std::exchange(input_, {});
  }
  return answer;
}

}  // namespace fib::testing
