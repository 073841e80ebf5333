#include "runners/cpu/worker_link.h"

#include <fmt/format.h>

#include <bit>

#include "runners/cpu/futex.h"

namespace fib {
namespace {

// Spinning longer than this no longer pays: a wake-up costs less than half a percent of the time.
constexpr int64_t kSpinNs = 20'000'000;
constexpr int64_t kLookIntervalNs = 20'000'000;  // how often a sleeping parent looks for a death
constexpr double kStartTimeoutS = 30.0;

Json tensors_json(const std::vector<TensorDesc>& tensors, const InputSet* scalars) {
  Json list = Json::array();
  for (size_t i = 0; i < tensors.size(); ++i) {
    Json tensor{{"dtype", dtype_name(tensors[i].dtype)}, {"shape", tensors[i].shape}};
    if (tensors[i].is_host_scalar && scalars != nullptr) {
      tensor["scalar_bits"] = std::bit_cast<uint64_t>(std::get<double>(scalars->values[i].source));
    }
    list.push_back(std::move(tensor));
  }
  return list;
}

Json places_json(const CallPlaces& places) {
  return Json{{"inputs", places.inputs},
              {"outputs", places.outputs},
              {"workspace", places.workspace},
              {"prepared", places.prepared}};
}

}  // namespace

Attempt<WorkerLink> WorkerLink::start(const WorkerLinkOptions& options) {
  WorkerLink link;
  link.timeout_s_ = options.timeout_s;
  link.processors_ = split_processors();
  {
    const AffinityScope inherited(link.processors_ ? &link.processors_->timed : nullptr);
    link.worker_ =
        FIB_TRY(WorkerProcess::start({.executable = options.executable, .kind = "cpu"}));
  }
  const Message opened = FIB_TRY(link.worker_->call(Json{{"do", "open"},
                                                         {"threads", options.threads},
                                                         {"library", options.library.string()},
                                                         {"memory_bytes", options.memory_bytes}},
                                                    {}, deadline_in(kStartTimeoutS)));
  link.sandbox_gaps_ = opened.body["missing"].get<std::vector<std::string>>();
  const Json loaded = FIB_TRY(link.ask(Json{{"do", "load"}}, "being loaded"));
  link.prepares_ = loaded["prepares"].get<bool>();
  return link;
}

Attempt<WorkerLink::Needs> WorkerLink::pose(const Problem& problem, const InputSet& scalars) {
  const Json answer = FIB_TRY(ask(Json{{"do", "problem"},
                                       {"inputs", tensors_json(problem.inputs, &scalars)},
                                       {"outputs", tensors_json(problem.outputs, nullptr)}},
                                  "fib_workspace_bytes or fib_prepared_bytes"));
  return Needs{answer["workspace_bytes"].get<size_t>(), answer["prepared_bytes"].get<size_t>()};
}

Attempt<void> WorkerLink::map(const SharedMemory& arena) {
  const int fd = arena.fd();
  FIB_CHECK(ask(Json{{"do", "arena"}, {"bytes", arena.bytes().size()}}, "taking its memory",
                std::span(&fd, 1)));
  control_ = reinterpret_cast<BatchControl*>(arena.bytes().data());
  ticket_ = 0;
  return {};
}

Attempt<double> WorkerLink::prepare(const CallPlaces& places) {
  const int64_t begin = monotonic_ns();
  const Json answer =
      FIB_TRY(ask(Json{{"do", "prepare"}, {"call", places_json(places)}}, "fib_prepare"));
  const int64_t end = monotonic_ns();
  if (const int code = answer["returned"].get<int>(); code != 0)
    return fault(FaultKind::kReturnedError, fmt::format("fib_prepare returned {}", code));
  return static_cast<double>(end - begin);
}

Attempt<BatchTime> WorkerLink::run_batch(const std::vector<CallPlaces>& calls,
                                         const std::function<void()>& at_return) {
  Json list = Json::array();
  for (const CallPlaces& places : calls) list.push_back(places_json(places));
  const uint32_t ticket = ++ticket_;
  const AffinityScope at_the_clock(processors_ ? &processors_->clock : nullptr);
  const Deadline deadline = deadline_in(timeout_s_);
  if (auto sent = worker_->channel().send(
          Json{{"do", "batch"}, {"ticket", ticket}, {"calls", std::move(list)}}, {}, deadline);
      !sent) {
    return fail(explain(std::move(sent).error(), "fib_run"));
  }
  FIB_CHECK(await(control_->armed, ticket, deadline));

  BatchTime time;
  const int64_t begin = monotonic_ns();
  control_->doorbell.store(ticket);
  futex_wake_all(control_->doorbell, FutexScope::kProcesses);
  FIB_CHECK(await(control_->answer, ticket, deadline));
  time.elapsed_ns = static_cast<double>(monotonic_ns() - begin);
  at_return();

  auto message = worker_->channel().receive(deadline);
  if (!message) return fail(explain(std::move(message).error(), "fib_run"));
  const Json& answer = message->body;
  if (answer.contains("error"))
    return fail(explain(error_from_json(answer["error"]), "fib_run"));
  if (const int code = answer["returned"].get<int>(); code != 0)
    return fault(FaultKind::kReturnedError, fmt::format("fib_run returned {}", code));
  time.busy_ns = answer["busy_ns"].get<double>();
  return time;
}

Attempt<Json> WorkerLink::ask(const Json& request, std::string_view during,
                              std::span<const int> fds) {
  auto answer = worker_->call(request, fds, deadline_in(timeout_s_));
  if (!answer) return fail(explain(std::move(answer).error(), during));
  return std::move(answer->body);
}

Attempt<void> WorkerLink::await(std::atomic<uint32_t>& word, uint32_t ticket, Deadline deadline) {
  if (spin_for(word, ticket, kSpinNs)) return {};
  for (uint32_t value; (value = word.load()) != ticket;) {
    if (!worker_->alive()) return fail(explain({.code = ErrorCode::kWorkerLost}, "fib_run"));
    if (std::chrono::steady_clock::now() > deadline)
      return fail(explain({.code = ErrorCode::kTimeout}, "fib_run"));
    futex_wait(word, value, kLookIntervalNs, FutexScope::kProcesses);
  }
  return {};
}

// The candidate is loaded, so the trouble is of its making.
Trouble WorkerLink::explain(Error error, std::string_view during) {
  const auto last_words = [&] {
    const std::string printed = worker_->stderr_tail();
    return printed.empty() ? std::string() : "; it printed:\n" + printed;
  };
  switch (error.code) {
    case ErrorCode::kTimeout:
      worker_->kill();
      return Fault{FaultKind::kTimeout,
                   fmt::format("{} did not return within {:g} s{}", during, timeout_s_,
                               last_words())};
    case ErrorCode::kWorkerLost: {
      worker_->kill();  // only its children can be alive still
      const WorkerExit exit = worker_->wait();
      const std::string words = last_words();
      const bool no_memory = words.find("std::bad_alloc") != std::string::npos;
      return Fault{no_memory ? FaultKind::kOutOfMemory : FaultKind::kCrash,
                   fmt::format("the process died in {}: {}{}", during, exit.describe(), words)};
    }
    case ErrorCode::kResourceExhausted:
      return Fault{FaultKind::kOutOfMemory, fmt::format("{} {}", during, error.message)};
    case ErrorCode::kNotFound:
      return Fault{FaultKind::kKernelNotFound, error.to_string()};
    default:
      return Fault{FaultKind::kCrash, fmt::format("{} {}", during, error.message)};
  }
}

}  // namespace fib
