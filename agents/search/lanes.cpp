#include "agents/search/lanes.h"

#include <exception>

namespace fib::agents {

void Mailbox::post(Letter letter) {
  {
    std::lock_guard lock(mutex_);
    letters_.push_back(std::move(letter));
  }
  arrived_.notify_one();
}

std::optional<Letter> Mailbox::wait(std::chrono::milliseconds at_most) {
  std::unique_lock lock(mutex_);
  arrived_.wait_for(lock, at_most, [&] { return !letters_.empty(); });
  if (letters_.empty()) return std::nullopt;
  Letter letter = std::move(letters_.front());
  letters_.pop_front();
  return letter;
}

Lanes::Lanes(int count, std::shared_ptr<Mailbox> mailbox) : mailbox_(std::move(mailbox)) {
  for (int lane = 0; lane < count; ++lane) threads_.emplace_back([this, lane] { run(lane); });
}

Lanes::~Lanes() { close(); }

void Lanes::submit(int64_t number, Task task) {
  {
    std::lock_guard lock(mutex_);
    if (is_closed_) return;
    waiting_.emplace(number, std::move(task));
  }
  ready_.notify_one();
}

void Lanes::close() {
  {
    std::lock_guard lock(mutex_);
    is_closed_ = true;
    waiting_.clear();
  }
  ready_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Lanes::run(int lane) {
  while (true) {
    Task task;
    {
      std::unique_lock lock(mutex_);
      ready_.wait(lock, [&] { return is_closed_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      task = std::move(waiting_.begin()->second);
      waiting_.erase(waiting_.begin());
    }
    try {
      mailbox_->post(task(lane));
    } catch (...) {
      mailbox_->post([broken = std::current_exception()]() -> Result<void> {
        std::rethrow_exception(broken);
      });
    }
  }
}

}  // namespace fib::agents
