#include "agents/mcp/call_queue.h"

#include <utility>
#include <vector>

namespace fib::mcp {

CallQueue::CallQueue(std::function<void(Call& call)> run)
    : run_(std::move(run)), worker_([this] { work(); }) {}

CallQueue::~CallQueue() { end(); }

CallQueue::Admission CallQueue::push(std::shared_ptr<Call> call) {
  {
    const std::lock_guard lock(mutex_);
    if (is_ending_) return Admission::kEnding;
    if (waiting_.size() >= kLongest) return Admission::kFull;
    waiting_.push_back(std::move(call));
  }
  changed_.notify_all();
  return Admission::kQueued;
}

void CallQueue::drop_cancelled() {
  // What a call's end sets off happens outside the lock.
  std::vector<std::shared_ptr<Call>> dropped;
  const std::lock_guard lock(mutex_);
  std::erase_if(waiting_, [&](const std::shared_ptr<Call>& call) {
    const bool is_cancelled = call->is_cancelled;
    if (is_cancelled) dropped.push_back(call);
    return is_cancelled;
  });
}

std::deque<std::shared_ptr<Call>> CallQueue::end() {
  std::deque<std::shared_ptr<Call>> dropped;
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
    dropped.swap(waiting_);
    if (running_) running_->is_cancelled = true;
  }
  for (const std::shared_ptr<Call>& call : dropped) call->is_cancelled = true;
  changed_.notify_all();
  std::call_once(joined_, [this] { worker_.join(); });
  return dropped;
}

void CallQueue::work() {
  while (true) {
    std::shared_ptr<Call> call;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return is_ending_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      call = running_ = waiting_.front();
      waiting_.pop_front();
    }
    run_(*call);
    const std::lock_guard lock(mutex_);
    running_ = nullptr;
  }
}

}  // namespace fib::mcp
