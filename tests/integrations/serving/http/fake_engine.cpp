#include "tests/integrations/serving/http/fake_engine.h"

#include <algorithm>

namespace fib::testing {

FakeEngine::FakeEngine(FakeEngineOptions options)
    : options_(std::move(options)), thread_([this] { run(); }) {}

FakeEngine::~FakeEngine() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
    for (auto& [id, sequence] : sequences_) sequence.is_cancelled = true;
  }
  changed_.notify_all();
  thread_.join();
}

Result<RequestId> FakeEngine::submit(EngineRequest request) {
  const std::lock_guard lock(mutex_);
  if (is_draining_) return fail(ErrorCode::kEnvironment, "the engine is draining");
  if (sequences_.size() >= options_.max_queued ||
      (options_.surplus && request.prompt.front() == *options_.surplus))
    return fail(ErrorCode::kResourceExhausted, "the queue is full");
  submitted_.push_back(request);
  submitted_.back().listener = nullptr;
  std::vector<TokenId> answer = options_.answer ? options_.answer(request) : request.prompt;
  sequences_.emplace(next_id_, Sequence{std::move(request), std::move(answer)});
  changed_.notify_all();
  return next_id_++;
}

void FakeEngine::cancel(RequestId id) {
  const std::lock_guard lock(mutex_);
  if (const auto found = sequences_.find(id); found != sequences_.end())
    found->second.is_cancelled = true;
  changed_.notify_all();
}

void FakeEngine::set_overdue() {
  const std::lock_guard lock(mutex_);
  stats_.is_step_overdue = true;
}

void FakeEngine::set_executor_host_ns(double host_ns) {
  const std::lock_guard lock(mutex_);
  stats_.executor_host_ns = host_ns;
}

void FakeEngine::lose_device(std::string why) {
  const std::lock_guard lock(mutex_);
  stats_.is_device_lost = true;
  stats_.device_error = std::move(why);
}

EngineStats FakeEngine::stats() const {
  const std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.running = std::min(static_cast<int>(sequences_.size()), options_.max_running);
  stats.waiting = static_cast<int>(sequences_.size()) - stats.running;
  stats.pages_total = 100;
  stats.pages_used = std::min(stats.running, stats.pages_total);
  return stats;
}

void FakeEngine::drain() {
  std::unique_lock lock(mutex_);
  is_draining_ = true;
  changed_.wait(lock, [this] { return sequences_.empty(); });
}

void FakeEngine::pause() {
  const std::lock_guard lock(mutex_);
  is_paused_ = true;
  steps_allowed_ = 0;
}

void FakeEngine::resume() {
  const std::lock_guard lock(mutex_);
  is_paused_ = false;
  changed_.notify_all();
}

void FakeEngine::step(int tokens) {
  const std::lock_guard lock(mutex_);
  steps_allowed_ += tokens;
  changed_.notify_all();
}

EngineStats FakeEngine::wait_until(const std::function<bool(const EngineStats&)>& predicate) const {
  while (true) {
    const EngineStats now = stats();
    if (predicate(now)) return now;
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(2));
  }
}

std::vector<EngineRequest> FakeEngine::submitted() const {
  const std::lock_guard lock(mutex_);
  return submitted_;
}

bool FakeEngine::has_work() const {
  if (sequences_.empty()) return false;
  if (!is_paused_ || steps_allowed_ > 0) return true;
  return std::ranges::any_of(sequences_,
                             [](const auto& entry) { return entry.second.is_cancelled; });
}

void FakeEngine::run() {
  while (true) {
    std::vector<Call> calls;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return is_ending_ || has_work(); });
      if (sequences_.empty()) return;  // has no work, so it is ending
      calls = take_step();
    }
    for (Call& call : calls) {
      if (call.token) {
        call.listener->on_token(*call.token);
      } else {
        call.listener->on_end(call.reason, call.usage, call.error);
      }
    }
    calls.clear();
    changed_.notify_all();
    if (options_.step_time.count() > 0) std::this_thread::sleep_for(options_.step_time);
  }
}

std::vector<FakeEngine::Call> FakeEngine::take_step() {
  std::vector<Call> calls;
  const bool may_generate = !is_paused_ || steps_allowed_ > 0;
  if (is_paused_ && steps_allowed_ > 0) --steps_allowed_;
  ++stats_.steps;
  int running = 0;
  for (auto it = sequences_.begin(); it != sequences_.end();) {
    Sequence& sequence = it->second;
    const bool generates = may_generate && running++ < options_.max_running;
    if (!generates && !sequence.is_cancelled) {
      ++it;
      continue;
    }
    calls.push_back(next_call(sequence));
    it = calls.back().token ? std::next(it) : sequences_.erase(it);
  }
  return calls;
}

FakeEngine::Call FakeEngine::next_call(Sequence& sequence) {
  const SamplingParams& sampling = sequence.request.sampling;
  const int prompt_tokens = static_cast<int>(sequence.request.prompt.size());
  Call call{.listener = sequence.request.listener,
            .usage = {.prompt_tokens = prompt_tokens,
                      .cached_tokens = prompt_tokens / 2,
                      .completion_tokens = sequence.num_tokens,
                      .queued_ns = 1e6}};
  const auto end = [&](FinishReason reason, uint64_t& count) {
    call.reason = reason;
    ++count;
    return call;
  };
  if (sequence.is_cancelled) return end(FinishReason::kCancelled, stats_.cancelled);
  if (sequence.num_tokens == 1 && options_.poison &&
      sequence.request.prompt.front() == *options_.poison) {
    call.error = Error{.code = ErrorCode::kUnsupported, .message = "a kernel failed"};
    return end(FinishReason::kError, stats_.failed);
  }
  if (sequence.num_tokens == sampling.max_tokens)
    return end(FinishReason::kLength, stats_.finished);
  const size_t at = static_cast<size_t>(sequence.num_tokens);
  if (sequence.answer.empty() || (at >= sequence.answer.size() && !sampling.ignore_eos))
    return end(FinishReason::kStop, stats_.finished);
  const TokenId token = sequence.answer[at % sequence.answer.size()];
  ++sequence.num_tokens;
  ++stats_.generated_tokens;
  call.token = GeneratedToken{.token = token, .logprob = -0.5f};
  for (int i = 0; i < sampling.logprobs; ++i)
    call.token->top.push_back({(token + i) % 256, -0.5f - static_cast<float>(i)});
  return call;
}

}  // namespace fib::testing
