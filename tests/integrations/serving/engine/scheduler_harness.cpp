#include "tests/integrations/serving/engine/scheduler_harness.h"

#include <stdexcept>

namespace fib::testing {

SchedulerHarness::SchedulerHarness(const ExecutorLimits& limits, const EngineConfig& config)
    : limits_(limits), config_(config), scheduler_(limits, config), executor_(limits, config) {
  executor_.may_write = [this](int32_t page) {
    return pool().references(page) == 1 && !pool().is_published(page);
  };
}

RequestId SchedulerHarness::add(EngineRequest request) {
  const auto listener = std::make_shared<RecordingListener>();
  request.listener = listener;
  auto sequence = Sequence::make(request, limits_, config_);
  if (!sequence) throw std::runtime_error(sequence.error().to_string());
  const RequestId id = (*sequence)->id = next_id_++;
  ids_[listener.get()] = id;
  listeners_[id] = listener;
  requests_[id] = std::move(request);
  scheduler_.add(*std::move(sequence));
  return id;
}

void SchedulerHarness::cancel(RequestId id) {
  scheduler_.cancel(id);
  deliver();
  check_pages();
}

bool SchedulerHarness::step() {
  std::vector<bool> was_published(limits_.num_pages);
  for (int page = 0; page < limits_.num_pages; ++page) {
    was_published[page] = pool().is_published(page);
  }
  const uint64_t preemptions_before = stats().preemptions;
  const Step* step = scheduler_.plan();
  if (scheduler_.take_stash_drop()) executor_.drop_stash();
  if (step == nullptr) {
    EXPECT_EQ(pool().num_free(), limits_.num_pages) << "pages have leaked";
    return false;
  }
  // What was evicted is somebody else's now; its content is not to look like the new owner's.
  for (int page = 0; page < limits_.num_pages; ++page) {
    if (was_published[page] && !pool().is_published(page)) executor_.clear_page(page);
  }
  const auto keep = [](const std::vector<StepSegment>& segments) {
    std::vector<PlannedSegment> kept;
    for (const StepSegment& segment : segments) {
      kept.push_back({segment.sequence, segment.first_position, segment.num_tokens()});
    }
    return kept;
  };
  decode_ = keep(step->decode);
  prefill_ = keep(step->prefill);
  prefill_layers_ = step->prefill_layers;
  check_decode_rows(preemptions_before);

  Result<StepResult> result = executor_.run(*step);
  if (result) {
    scheduler_.complete(*std::move(result));
  } else {
    scheduler_.fail(result.error());
    if (scheduler_.take_stash_drop()) executor_.drop_stash();
  }
  deliver();
  check_pages();
  return true;
}

void SchedulerHarness::deliver() {
  for (RequestEvent& event : scheduler_.take_events()) {
    const RequestId id = ids_.at(event.listener.get());
    if (const auto* token = std::get_if<GeneratedToken>(&event.what)) {
      event.listener->on_token(*token);
      decoding_.insert(id);
    } else {
      const auto& end = std::get<RequestEnd>(event.what);
      event.listener->on_end(end.reason, end.usage, end.error);
      decoding_.erase(id);
    }
  }
}

void SchedulerHarness::check_decode_rows(uint64_t preemptions_before) {
  std::set<RequestId> rows;
  for (const PlannedSegment& segment : decode_) {
    EXPECT_TRUE(decoding_.contains(segment.id)) << "a row without a first token";
    rows.insert(segment.id);
  }
  EXPECT_LE(decoding_.size() - rows.size(), stats().preemptions - preemptions_before)
      << "a decoding sequence has no row, and was not preempted";
  decoding_ = rows;
}

void SchedulerHarness::check_pages() {
  int num_free = 0;
  for (int page = 0; page < limits_.num_pages; ++page) {
    num_free += pool().references(page) == 0;
    if (pool().is_published(page)) {
      EXPECT_TRUE(executor_.is_complete(page)) << "an unfinished block is published";
    } else if (pool().references(page) == 0) {
      executor_.clear_page(page);
    }
  }
  EXPECT_EQ(pool().num_free(), num_free);
}

}  // namespace fib::testing
