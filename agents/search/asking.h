#pragma once

// A proposer that is being asked, in a thread of its own: it may hang for good, and the run goes on
// without it.

#include <atomic>
#include <memory>
#include <thread>

#include "agents/proposers/proposer.h"
#include "agents/search/lanes.h"

namespace fib::agents {

class Asking {
 public:
  using Answer = std::function<Letter(Result<ProposalOutcome> outcome)>;

  // Whatever the proposer throws is a refusal ("crash"). `answer` makes the letter that tells.
  Asking(std::shared_ptr<Proposer> proposer, ProposalRequest request,
         std::shared_ptr<Mailbox> mailbox, Answer answer);
  ~Asking();  // cancels, and leaves the thread to itself: it has all that it needs
  Asking(Asking&&) = default;
  Asking& operator=(Asking&&) = delete;

  void cancel() { *is_cancelled_ = true; }
  void join() { thread_.join(); }  // once its letter is there

 private:
  std::shared_ptr<std::atomic<bool>> is_cancelled_ = std::make_shared<std::atomic<bool>>(false);
  std::thread thread_;
};

}  // namespace fib::agents
