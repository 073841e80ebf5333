#pragma once

// Sends traffic to an engine, or to any server, as it came in the trace: open loop, whether or not
// the server keeps up.

#include <functional>
#include <optional>

#include "integrations/serving/engine/engine.h"
#include "integrations/serving/traffic/replay_report.h"
#include "integrations/serving/traffic/traffic.h"

namespace fib {

// Where requests go.
class RequestSink {
 public:
  virtual ~RequestSink() = default;
  // Starts it and returns. As with Engine::submit the listener hears nothing of a refused one.
  virtual Result<void> send(EngineRequest request) = 0;
};

class EngineSink final : public RequestSink {
 public:
  explicit EngineSink(Engine& engine) : engine_(engine) {}
  Result<void> send(EngineRequest request) override;

 private:
  Engine& engine_;
};

struct ReplayOptions {
  ServiceLevel level;
  // Asked when the first measured request is sent and at the end; the report has the difference.
  std::function<EngineCounters()> counters;
  // Asked now and then: true ends the replay, with a report of what has finished.
  std::function<bool()> is_interrupted;
  std::function<void(size_t sent, size_t ended, size_t total)> progress;
};

// Returns when all requests have ended. Requests that fail are in the report.
ReplayReport replay(const Traffic& traffic, RequestSink& sink, const ReplayOptions& options);

}  // namespace fib
