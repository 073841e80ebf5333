#include "integrations/serving/engine/scheduler.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <utility>

#include "integrations/serving/engine/layered_prefill.h"

namespace fib {

Scheduler::Scheduler(const ExecutorLimits& limits, const EngineConfig& config)
    : limits_(limits),
      config_(config),
      // Each running sequence has a row at least, so prefill always finds room for a token.
      max_running_(
          std::min({config.max_decode_rows, limits.max_decode_rows, limits.max_step_tokens})),
      watermark_pages_(static_cast<int>(config.watermark * limits.num_pages)),
      pool_(limits.num_pages) {}

bool Scheduler::is_layered() const {
  return config_.prefill == PrefillPolicy::kLayered && limits_.is_moe;
}

void Scheduler::add(std::unique_ptr<Sequence> sequence) {
  const SequenceOrder order = sequence->order();
  orders_.emplace(sequence->id, order);
  waiting_.emplace(order, std::move(sequence));
}

void Scheduler::cancel(RequestId id) {
  const auto order = orders_.find(id);
  if (order == orders_.end()) return;
  const auto running = running_.find(order->second);
  Sequence& sequence = running == running_.end() ? *waiting_.at(order->second) : *running->second;
  leave_stage(sequence);
  end(sequence, FinishReason::kCancelled, {});
}

void Scheduler::cancel_all() { end_all(FinishReason::kCancelled, {}); }

// ---- planning

const Step* Scheduler::plan() {
  step_.decode.clear();
  step_.prefill.clear();
  step_.choices.clear();
  decode_rows_.clear();
  if (is_idle()) return nullptr;
  plan_decode();
  plan_stage();
  if (step_.decode.empty() && step_.prefill.empty()) {
    throw std::logic_error("requests are left, but none can go on");
  }
  ++stats_.steps;
  return &step_;
}

void Scheduler::plan_decode() {
  // First in order first: who is preempted comes later, so rows already planned stay.
  for (auto& [order, sequence] : running_) {
    if (!sequence->progress.is_decoding) continue;
    if (!grow(*sequence)) return;
    step_.decode.push_back(sequence->segment(1, limits_.page_size));
    step_.choices.push_back(sequence->choice());
    decode_rows_.push_back(sequence.get());
  }
}

void Scheduler::plan_stage() {
  if (stage_.pieces.empty()) form_stage();
  const bool is_last_group = stage_.group + 1 == stage_.num_groups;
  step_.prefill_layers = layer_group(stage_.group, stage_.num_groups, limits_.num_layers);
  for (const Piece& piece : stage_.pieces) {
    StepSegment segment = piece.sequence->segment(piece.num_tokens, limits_.page_size);
    segment.wants_token &= is_last_group;
    step_.prefill.push_back(segment);
    if (segment.wants_token) step_.choices.push_back(piece.sequence->choice());
  }
}

void Scheduler::form_stage() {
  const int most = std::min(is_layered() ? config_.cohort_tokens : config_.chunk_tokens,
                            limits_.max_step_tokens - static_cast<int>(decode_rows_.size()));
  int room = most;
  // Strictly in order: whoever does not fit is waited for, so that nobody is passed over for ever.
  const auto has_place = [this] {
    return std::ssize(stage_.pieces) < limits_.max_prefill_segments;
  };
  bool was_added = true;
  for (const auto& [order, sequence] : running_) {
    if (sequence->progress.is_decoding) continue;
    const int tokens = has_place() ? piece_size(sequence->remaining(), room) : 0;
    was_added = tokens > 0;
    if (!was_added) break;
    stage_.pieces.push_back({sequence.get(), tokens});
    room -= tokens;
  }
  while (was_added && has_place() && !waiting_.empty() &&
         static_cast<int>(running_.size()) < max_running_) {
    const int tokens = admit_first(room);
    was_added = tokens > 0;
    room -= tokens;
  }
  stage_.num_groups = is_layered() ? num_layer_groups(most - room, limits_.num_layers) : 1;
}

int Scheduler::piece_size(int remaining, int room) const {
  // Cutting a prompt loads its experts once more, so only those too long for any cohort are cut.
  if (is_layered() && remaining > room && !stage_.pieces.empty()) return 0;
  return std::min(remaining, room);
}

// ---- memory

int Scheduler::admit_first(int room) {
  Sequence& sequence = *waiting_.begin()->second;
  std::vector<int32_t> pages = find_cached_pages(sequence);
  const int num_cached = static_cast<int>(pages.size());
  if (will_be_cached(sequence, num_cached)) return 0;
  const int cached_tokens = num_cached * limits_.page_size;
  const int num_tokens = piece_size(sequence.length() - cached_tokens, room);
  if (num_tokens == 0) return 0;

  const int num_new = num_pages_for(sequence.length(), limits_.page_size) - num_cached;
  const auto is_free = [&](int32_t page) { return pool_.references(page) == 0; };
  const auto num_revived = std::count_if(pages.begin(), pages.end(), is_free);
  const int num_left = pool_.num_free() - num_new - static_cast<int>(num_revived);
  if (num_left < (running_.empty() ? 0 : watermark_pages_)) return 0;

  // The cached pages first, or they might be taken for new ones.
  for (const int32_t page : pages) pool_.retain(page);
  for (int i = 0; i < num_new; ++i) pages.push_back(pool_.allocate().value());
  sequence.progress = {
      .pages = std::move(pages), .computed = cached_tokens, .num_published = num_cached};
  if (!std::exchange(sequence.was_admitted, true)) {
    sequence.usage.cached_tokens = cached_tokens;
    sequence.usage.queued_ns = std::chrono::duration<double, std::nano>(
                                   std::chrono::steady_clock::now() - sequence.submitted)
                                   .count();
    stats_.cached_tokens += cached_tokens;
    stats_.prompt_tokens += sequence.usage.prompt_tokens;
  }
  running_.insert(waiting_.extract(waiting_.begin()));
  stage_.pieces.push_back({&sequence, num_tokens});
  return num_tokens;
}

std::vector<int32_t> Scheduler::find_cached_pages(Sequence& sequence) const {
  std::vector<int32_t> pages;
  if (!config_.has_prefix_cache) return pages;
  const auto hashes = sequence.hash_blocks(limits_.page_size);
  // The last token is computed in any case: what follows it is wanted.
  const int most = (sequence.length() - 1) / limits_.page_size;
  for (int block = 0; block < most; ++block) {
    const auto page = pool_.find(hashes[block]);
    if (!page) break;
    pages.push_back(*page);
  }
  return pages;
}

// Whether a running sequence is about to publish the first block that this one lacks. Waiting for
// it is what lets n completions of one prompt, sent together, compute the prompt once.
bool Scheduler::will_be_cached(Sequence& sequence, int block) const {
  if (!config_.has_prefix_cache || block >= (sequence.length() - 1) / limits_.page_size) {
    return false;
  }
  const BlockHash& wanted = sequence.hash_blocks(limits_.page_size)[block];
  return std::any_of(running_.begin(), running_.end(), [&](const auto& entry) {
    Sequence& other = *entry.second;
    if (other.progress.is_decoding || other.progress.num_published > block) return false;
    const auto hashes = other.hash_blocks(limits_.page_size);
    return std::ssize(hashes) > block && hashes[block] == wanted;
  });
}

bool Scheduler::grow(Sequence& sequence) {
  std::vector<int32_t>& pages = sequence.progress.pages;
  if (std::ssize(pages) == num_pages_for(sequence.length(), limits_.page_size)) return true;
  std::optional<int32_t> page = pool_.allocate();
  while (!page) {
    const bool is_last = running_.rbegin()->second.get() == &sequence;
    preempt_last();
    if (is_last) return false;
    page = pool_.allocate();
  }
  pages.push_back(*page);
  return true;
}

void Scheduler::preempt_last() {
  const auto last = std::prev(running_.end());
  Sequence& sequence = *last->second;
  leave_stage(sequence);
  release_pages(sequence);
  ++sequence.usage.preemptions;
  ++stats_.preemptions;
  waiting_.insert(running_.extract(last));
}

void Scheduler::release_pages(Sequence& sequence) {
  // Last block first: of a chain in the prefix cache the end is the least useful.
  std::vector<int32_t>& pages = sequence.progress.pages;
  std::for_each(pages.rbegin(), pages.rend(), [&](int32_t page) { pool_.release(page); });
  sequence.progress = {};
}

// A cohort goes through all its steps together or not at all.
void Scheduler::leave_stage(const Sequence& sequence) {
  const auto is_own = [&](const Piece& piece) { return piece.sequence == &sequence; };
  if (std::any_of(stage_.pieces.begin(), stage_.pieces.end(), is_own)) drop_stage();
}

void Scheduler::drop_stage() {
  was_stash_dropped_ |= stage_.num_groups > 1;
  stage_ = {};
}

bool Scheduler::take_stash_drop() { return std::exchange(was_stash_dropped_, false); }

// ---- results

void Scheduler::complete(StepResult result) {
  if (result.tokens.size() != step_.choices.size()) {
    throw std::logic_error("a step's result has not the tokens that were wanted");
  }
  auto chosen = result.tokens.begin();
  for (Sequence* sequence : decode_rows_) {
    advance(*sequence, 1);
    receive(*sequence, std::move(*chosen++));
  }
  if (stage_.pieces.empty() || ++stage_.group < stage_.num_groups) return;
  const PrefillStage stage = std::exchange(stage_, {});
  for (const auto& [sequence, num_tokens] : stage.pieces) {
    stats_.prefill_tokens += num_tokens;
    advance(*sequence, num_tokens);
    if (sequence->remaining() > 0) continue;
    sequence->progress.is_decoding = true;
    receive(*sequence, std::move(*chosen++));
  }
}

void Scheduler::advance(Sequence& sequence, int num_tokens) {
  SequenceProgress& progress = sequence.progress;
  progress.computed += num_tokens;
  const int num_complete = progress.computed / limits_.page_size;
  if (!config_.has_prefix_cache || progress.num_published == num_complete) return;
  const auto hashes = sequence.hash_blocks(limits_.page_size);
  for (int& block = progress.num_published; block < num_complete; ++block) {
    pool_.publish(progress.pages[block], hashes[block]);
  }
}

void Scheduler::receive(Sequence& sequence, ChosenToken chosen) {
  if (chosen.token < 0 || chosen.token >= limits_.vocab_size) {
    throw std::logic_error("a chosen token is not in the vocabulary");
  }
  sequence.append(chosen.token);
  ++stats_.generated_tokens;
  if (sequence.is_stop(chosen.token)) {
    end(sequence, FinishReason::kStop, {});
    return;
  }
  events_.push_back(
      {sequence.listener(), GeneratedToken{chosen.token, chosen.logprob, std::move(chosen.top)}});
  if (sequence.is_full()) end(sequence, FinishReason::kLength, {});
}

void Scheduler::fail(const Error& error) {
  std::vector<Sequence*> failed = decode_rows_;
  for (const Piece& piece : stage_.pieces) failed.push_back(piece.sequence);
  drop_stage();
  for (Sequence* sequence : failed) {
    // What broke may have been broken in an earlier step: numbers that aren't finite show only when
    // a token is wanted. Nobody shall go on from them.
    for (const int32_t page : sequence->progress.pages) pool_.withdraw(page);
    end(*sequence, FinishReason::kError, error);
  }
}

void Scheduler::fail_all(const Error& error) { end_all(FinishReason::kError, error); }

void Scheduler::end_all(FinishReason reason, const std::optional<Error>& error) {
  drop_stage();
  for (Sequences* sequences : {&running_, &waiting_}) {
    while (!sequences->empty()) end(*sequences->begin()->second, reason, error);
  }
}

void Scheduler::end(Sequence& sequence, FinishReason reason, const std::optional<Error>& error) {
  ++(reason == FinishReason::kError       ? stats_.failed
     : reason == FinishReason::kCancelled ? stats_.cancelled
                                          : stats_.finished);
  sequence.usage.completion_tokens = sequence.num_generated();
  events_.push_back({sequence.listener(), RequestEnd{reason, sequence.usage, error}});
  release_pages(sequence);
  const SequenceOrder order = sequence.order();
  orders_.erase(sequence.id);
  if (running_.erase(order) == 0) waiting_.erase(order);
}

std::vector<RequestEvent> Scheduler::take_events() { return std::exchange(events_, {}); }

EngineStats Scheduler::stats() const {
  EngineStats stats = stats_;
  stats.running = static_cast<int>(running_.size());
  stats.waiting = static_cast<int>(waiting_.size());
  stats.pages_used = pool_.num_pages() - pool_.num_free();
  stats.pages_total = pool_.num_pages();
  return stats;
}

}  // namespace fib
