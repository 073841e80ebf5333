#pragma once

// The sessions that clients of the protocol's older revisions open over HTTP.

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "agents/mcp/conversation.h"

namespace fib {

class McpSessions {  // from any thread
 public:
  static constexpr size_t kMost = 64;

  // The new session's id, which nobody can guess. Clients that don't say when they leave make room
  // for new ones in the order in which they were last heard of; nullopt: all are at work.
  std::optional<std::string> open(std::shared_ptr<mcp::Conversation> conversation);
  // nullptr: there is none (any more).
  std::shared_ptr<mcp::Conversation> find(const std::string& id);
  std::shared_ptr<mcp::Conversation> close(const std::string& id);

 private:
  struct Session {
    std::shared_ptr<mcp::Conversation> conversation;
    uint64_t last_heard = 0;  // the higher the later
  };

  std::mutex mutex_;
  std::map<std::string, Session> sessions_;
  uint64_t clock_ = 0;
};

}  // namespace fib
