#include "integrations/cli/mcp_sessions.h"

#include <fmt/format.h>

#include <random>
#include <utility>

namespace fib {

namespace {

// Not of a seed: whoever knows a session's id may act in it.
std::string random_id() {
  std::random_device entropy;
  std::string id;
  for (int word = 0; word < 4; ++word) id += fmt::format("{:08x}", entropy());
  return id;
}

}  // namespace

std::optional<std::string> McpSessions::open(std::shared_ptr<mcp::Conversation> conversation) {
  const std::lock_guard lock(mutex_);
  if (sessions_.size() >= kMost) {
    auto oldest = sessions_.end();
    for (auto session = sessions_.begin(); session != sessions_.end(); ++session) {
      if (!session->second.conversation->is_idle()) continue;
      if (oldest == sessions_.end() || session->second.last_heard < oldest->second.last_heard) {
        oldest = session;
      }
    }
    if (oldest == sessions_.end()) return std::nullopt;
    sessions_.erase(oldest);
  }
  std::string id = random_id();
  sessions_[id] = {.conversation = std::move(conversation), .last_heard = ++clock_};
  return id;
}

std::shared_ptr<mcp::Conversation> McpSessions::find(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto session = sessions_.find(id);
  if (session == sessions_.end()) return nullptr;
  session->second.last_heard = ++clock_;
  return session->second.conversation;
}

std::shared_ptr<mcp::Conversation> McpSessions::close(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto session = sessions_.extract(id);
  return session.empty() ? nullptr : session.mapped().conversation;
}

}  // namespace fib
