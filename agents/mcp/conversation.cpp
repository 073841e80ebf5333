#include "agents/mcp/conversation.h"

#include <utility>

namespace fib::mcp {

bool Conversation::is_initialized() const {
  const std::lock_guard lock(mutex_);
  return is_initialized_;
}

bool Conversation::initialize() {
  const std::lock_guard lock(mutex_);
  return !std::exchange(is_initialized_, true);
}

bool Conversation::is_idle() const {
  const std::lock_guard lock(mutex_);
  return calls_.empty();
}

bool Conversation::add(const std::shared_ptr<Call>& call) {
  const std::lock_guard lock(mutex_);
  return calls_.emplace(call->id.dump(), call).second;
}

void Conversation::remove(const Call& call) {
  const std::lock_guard lock(mutex_);
  const auto found = calls_.find(call.id.dump());
  // After a cancellation the id may be another call's.
  if (found != calls_.end() && found->second.get() == &call) calls_.erase(found);
}

// Outside the lock the last of a call may go, and with it what it set off.
void Conversation::cancel(const Json& id) {
  std::shared_ptr<Call> cancelled;
  const std::lock_guard lock(mutex_);
  const auto found = calls_.find(id.dump());
  if (found == calls_.end()) return;
  cancelled = found->second;
  cancelled->is_cancelled = true;
  calls_.erase(found);
}

void Conversation::cancel_all() {
  std::map<std::string, std::shared_ptr<Call>> cancelled;
  const std::lock_guard lock(mutex_);
  cancelled.swap(calls_);
  for (const auto& [id, call] : cancelled) call->is_cancelled = true;
}

}  // namespace fib::mcp
