#include "agents/mcp/stdio.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <mutex>
#include <ostream>
#include <string>

namespace fib::mcp {

namespace {

constexpr int kPollMs = 100;
constexpr size_t kReadBytes = 64 << 10;

// Cuts what comes in into lines.
class LineReader {
 public:
  LineReader(Server& server, const Send& send, size_t longest_bytes)
      : server_(server), send_(send), longest_bytes_(longest_bytes) {}

  void take(std::string_view bytes) {
    while (!bytes.empty()) {
      const size_t end = bytes.find('\n');
      keep(bytes.substr(0, end));
      if (end == std::string_view::npos) return;
      bytes.remove_prefix(end + 1);
      finish_line();
    }
  }

 private:
  void keep(std::string_view part) {
    if (line_.size() + part.size() > longest_bytes_) is_too_long_ = true;
    if (is_too_long_) {
      line_.clear();
    } else {
      line_ += part;
    }
  }

  void finish_line() {
    if (is_too_long_) {
      send_(oversized_message(longest_bytes_));
    } else if (line_.find_first_not_of(" \t\r") != std::string::npos) {
      server_.receive(conversation_, line_, send_);
    }
    line_.clear();
    is_too_long_ = false;
  }

  Server& server_;
  const Send& send_;
  const std::shared_ptr<Conversation> conversation_ = std::make_shared<Conversation>();
  const size_t longest_bytes_;
  std::string line_;
  bool is_too_long_ = false;
};

}  // namespace

Send line_writer(std::ostream& out) {
  return [&out, mutex = std::make_shared<std::mutex>()](const Json& message) {
    const std::lock_guard lock(*mutex);
    out << dump_json(message) << "\n" << std::flush;
  };
}

void serve_lines(Server& server, int in, const Send& send, const std::function<bool()>& should_stop,
                 size_t longest_bytes) {
  LineReader reader(server, send, longest_bytes);
  std::string buffer(kReadBytes, '\0');
  while (!should_stop()) {
    pollfd input{.fd = in, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&input, 1, kPollMs);
    if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
    const ssize_t count = ::read(in, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    reader.take({buffer.data(), static_cast<size_t>(count)});
  }
  server.abandon();
}

}  // namespace fib::mcp
