#pragma once

// Drives a Scheduler with a FakeExecutor as the engine's thread does, one step a call, and checks
// after each what must hold whatever happens.

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "integrations/serving/engine/scheduler.h"
#include "tests/integrations/serving/engine/fake_executor.h"
#include "tests/integrations/serving/engine/recording_listener.h"

namespace fib::testing {

class SchedulerHarness {
 public:
  SchedulerHarness(const ExecutorLimits& limits, const EngineConfig& config);

  RequestId add(EngineRequest request);  // its listener is ours
  void cancel(RequestId id);
  bool step();  // false: idle
  void finish() {
    while (step()) {
    }
  }

  const RecordingListener& heard(RequestId id) const { return *listeners_.at(id); }
  std::vector<TokenId> expected(RequestId id) const {
    return generate(requests_.at(id), limits_, config_);
  }
  // Of the last step.
  struct PlannedSegment {
    RequestId id = 0;
    int first_position = 0, num_tokens = 0;
    friend bool operator==(const PlannedSegment&, const PlannedSegment&) = default;
  };
  const std::vector<PlannedSegment>& decode() const { return decode_; }
  const std::vector<PlannedSegment>& prefill() const { return prefill_; }
  LayerRange prefill_layers() const { return prefill_layers_; }

  FakeExecutor& executor() { return executor_; }
  EngineStats stats() const { return scheduler_.stats(); }
  const BlockPool& pool() const { return scheduler_.pool(); }

 private:
  void deliver();
  void check_decode_rows(uint64_t preemptions_before);
  void check_pages();

  const ExecutorLimits limits_;
  const EngineConfig config_;
  Scheduler scheduler_;
  FakeExecutor executor_;
  RequestId next_id_ = 1;
  std::map<RequestId, EngineRequest> requests_;
  std::map<RequestId, std::shared_ptr<RecordingListener>> listeners_;
  std::map<const RequestListener*, RequestId> ids_;
  std::set<RequestId> decoding_;
  std::vector<PlannedSegment> decode_, prefill_;
  LayerRange prefill_layers_;
};

}  // namespace fib::testing
