#pragma once

// How a problem crosses from the parent to the plan process: JSON, and one piece of shared memory
// that holds the host-visible inputs one after the other.

#include "runners/worker/plan_worker.h"

namespace fib {

struct PlanMessage {
  Json body;
  SharedMemory host_data;
};
Result<PlanMessage> write_plan_message(const PlanProblemValue& problem);

// Takes ownership of the message's descriptor. What it returns shares no memory with the parent.
Result<PlanProblemValue> read_plan_message(Message& message);

}  // namespace fib
