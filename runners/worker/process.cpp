#include "runners/worker/process.h"

#include <fmt/format.h>
#include <string.h>
#include <sys/socket.h>

#include <array>
#include <optional>

namespace fib {
namespace {

// What every worker gets; nothing of the caller's environment reaches it.
std::vector<std::pair<std::string, std::string>> minimal_environment() {
  return {{"PATH", "/usr/local/bin:/usr/bin:/bin"}, {"LC_ALL", "C"}};
}

}  // namespace

struct WorkerProcess::State {
  std::string kind;
  std::optional<Channel> channel;
  std::unique_ptr<ChildProcess> child;

  std::string who() const { return kind + " worker"; }

  // How it died and its last words. The process is dead or about to be.
  std::string obituary() {
    // It may have closed its end and go on: a moment to die by itself, for an honest exit code.
    if (!child->wait_until(deadline_in(1.0))) child->kill();
    const std::string how = child->wait().describe();
    const std::string last_words = child->output();
    return last_words.empty() ? how : fmt::format("{}; it printed:\n{}", how, last_words);
  }

  Failure explain(Error error) {
    if (error.code == ErrorCode::kTimeout) {
      child->kill();
      return fail(ErrorCode::kTimeout, "no answer before the deadline; it was killed", who());
    }
    if (error.code == ErrorCode::kWorkerLost) {
      return fail(ErrorCode::kWorkerLost, obituary(), who());
    }
    error.where = who() + ": " + error.where;
    return fail(std::move(error));
  }
};

WorkerProcess::WorkerProcess() : state_(std::make_unique<State>()) {}
WorkerProcess::~WorkerProcess() = default;

Result<std::unique_ptr<WorkerProcess>> WorkerProcess::start(const WorkerOptions& options) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("no socket pair for a worker: {}", ::strerror(errno)),
                options.kind + " worker");
  }
  std::unique_ptr<WorkerProcess> worker(new WorkerProcess);
  worker->state_->kind = options.kind;
  worker->state_->channel.emplace(ends[0]);
  const FileDescriptor theirs(ends[1]);

  ChildOptions child{
      .executable = options.executable,
      .arguments = {"internal-worker", options.kind, "--fd", std::to_string(theirs.get())},
      .environment = minimal_environment(),
      .inherited_fds = {theirs.get()},
      .limits = {.address_space_bytes = options.address_space_bytes},
      .max_output_bytes = options.max_stderr_bytes};
  child.arguments.insert(child.arguments.end(), options.arguments.begin(), options.arguments.end());
  child.environment.insert(child.environment.end(), options.environment.begin(),
                           options.environment.end());
  worker->state_->child = FIB_TRY(ChildProcess::start(std::move(child)));
  return worker;
}

Channel& WorkerProcess::channel() { return *state_->channel; }
bool WorkerProcess::alive() { return state_->child->running(); }
void WorkerProcess::kill() { state_->child->kill(); }
void WorkerProcess::abandon() { state_->child->abandon(); }
WorkerExit WorkerProcess::wait() { return state_->child->wait(); }
std::string WorkerProcess::stderr_tail() { return state_->child->output(); }

Result<Message> WorkerProcess::call(const Json& body, std::span<const int> fds, Deadline deadline) {
  if (auto sent = state_->channel->send(body, fds, deadline); !sent) {
    return state_->explain(std::move(sent).error());
  }
  auto answer = state_->channel->receive(deadline);
  if (!answer) return state_->explain(std::move(answer).error());
  if (answer->body.is_object() && answer->body.contains("error")) {
    for (const int fd : answer->fds) ::close(fd);
    return fail(error_from_json(answer->body["error"]));
  }
  return answer;
}

int serve_worker(Channel channel, const WorkerHandler& handler) {
  while (true) {
    auto request = channel.receive(Deadline::max());
    if (!request && request.error().code == ErrorCode::kWorkerLost) return 0;
    auto answer = request ? handler(*request) : fail(std::move(request).error());
    Json body = answer ? *std::move(answer) : Json{{"error", error_to_json(answer.error())}};
    if (!channel.send(body)) return 0;
  }
}

}  // namespace fib
