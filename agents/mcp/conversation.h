#pragma once

// What a server knows of one client: on stdio of all that is said on the stream, over HTTP of a
// session, or of a single request that stands for itself.

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "agents/mcp/call_queue.h"

namespace fib::mcp {

class Conversation {  // from any thread
 public:
  bool is_initialized() const;
  bool initialize();     // false: it was before
  bool is_idle() const;  // no slow call waits or runs

  bool add(const std::shared_ptr<Call>& call);  // false: a call with this id is under way
  void remove(const Call& call);
  // What is not under way (any more) is nothing unusual.
  void cancel(const Json& id);
  void cancel_all();

 private:
  mutable std::mutex mutex_;
  bool is_initialized_ = false;
  std::map<std::string, std::shared_ptr<Call>> calls_;  // by id, as JSON text
};

}  // namespace fib::mcp
