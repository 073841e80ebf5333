#pragma once

// Calls of slow tools: one at a time, in the order in which they were asked for, whoever asked.

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "agents/mcp/revisions.h"
#include "agents/mcp/tool.h"

namespace fib::mcp {

class Conversation;

// The way back to whoever sent a message: any number of notifications, then one response. Nothing
// is owed to whoever cancels a request: then the last copy of its Send goes without a response.
// From any thread.
using Send = std::function<void(const Json& message)>;

struct Call {
  Json id;
  const Tool* tool = nullptr;
  Json arguments = Json::object();
  Json progress_token;  // null: the client wants to hear nothing
  Era era = Era::kSession;
  Send send;
  std::weak_ptr<Conversation> conversation;  // the one that it is part of
  std::atomic<bool> is_cancelled = false;
};

class CallQueue {
 public:
  enum class Admission { kQueued, kFull, kEnding };

  // `run` answers a call, on the queue's own thread.
  explicit CallQueue(std::function<void(Call& call)> run);
  ~CallQueue();
  CallQueue(const CallQueue&) = delete;
  CallQueue& operator=(const CallQueue&) = delete;

  Admission push(std::shared_ptr<Call> call);
  void drop_cancelled();  // of those that wait
  // Cancels all and admits nothing more. Returns, once what ran has ended, those that waited.
  std::deque<std::shared_ptr<Call>> end();

  static constexpr size_t kLongest = 16;  // calls that wait

 private:
  void work();

  const std::function<void(Call& call)> run_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Call>> waiting_;
  std::shared_ptr<Call> running_;
  bool is_ending_ = false;
  std::once_flag joined_;
  std::thread worker_;
};

}  // namespace fib::mcp
