#include "agents/search/asking.h"

#include <exception>

namespace fib::agents {

namespace {

ProposalOutcome crash(std::string message) {
  ProposalOutcome outcome;
  outcome.refusal = Refusal{.reason = "crash", .message = std::move(message)};
  return outcome;
}

Result<ProposalOutcome> ask(Proposer& proposer, const ProposalRequest& request) {
  try {
    return proposer.propose(request);
  } catch (const std::exception& error) {
    return crash(std::string("the proposer threw: ") + error.what());
  } catch (...) {
    return crash("the proposer threw something that is no exception");
  }
}

}  // namespace

Asking::Asking(std::shared_ptr<Proposer> proposer, ProposalRequest request,
               std::shared_ptr<Mailbox> mailbox, Answer answer) {
  request.cancelled = [flag = is_cancelled_] { return flag->load(); };
  thread_ = std::thread(
      [proposer = std::move(proposer), request = std::move(request), mailbox = std::move(mailbox),
       answer = std::move(answer)] { mailbox->post(answer(ask(*proposer, request))); });
}

Asking::~Asking() {
  if (!thread_.joinable()) return;
  cancel();
  thread_.detach();
}

}  // namespace fib::agents
