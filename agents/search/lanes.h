#pragma once

// Threads of the loop: lanes that carry out tasks, and the mailbox that brings what came of them
// back to the one thread that decides.

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "signatures/base/result.h"

namespace fib::agents {

// What the deciding thread is to do next. An Error ends the run; so does an exception, loudly.
using Letter = std::function<Result<void>()>;

class Mailbox {
 public:
  void post(Letter letter);
  // Nothing: none came in time.
  std::optional<Letter> wait(std::chrono::milliseconds at_most);

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<Letter> letters_;
};

// So many threads, each one thing at a time; of what waits, the lowest number goes first.
class Lanes {
 public:
  // Answers with the letter that tells what came of it.
  using Task = std::function<Letter(int lane)>;

  Lanes(int count, std::shared_ptr<Mailbox> mailbox);
  ~Lanes();  // drops what hasn't begun and waits for what has
  Lanes(const Lanes&) = delete;
  Lanes& operator=(const Lanes&) = delete;

  void submit(int64_t number, Task task);
  void close();  // the same as the destructor; later tasks are dropped

 private:
  void run(int lane);

  const std::shared_ptr<Mailbox> mailbox_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::multimap<int64_t, Task> waiting_;
  bool is_closed_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace fib::agents
