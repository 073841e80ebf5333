#pragma once

// A launch plan as a value: what plan.cpp asked for (harness/abi/fib/plan.h), checked, and
// replayable. Used by the device worker, by exported packages and by the serving engine, so this
// library includes nothing but signatures/base.

#include <array>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "harness/abi/fib/plan.h"
#include "signatures/base/json.h"
#include "signatures/base/result.h"

namespace fib {

inline constexpr size_t kTensorMapAlignment = 64;  // of a CUtensorMap, as the driver requires

struct PlannedArgument {
  // A pointer, by-value bytes, or a tensor map.
  std::variant<FibPlanPointer, std::vector<std::byte>, FibPlanTensorMap> value;
};

struct PlannedLaunch {
  std::string kernel;
  std::array<uint32_t, 3> grid{1, 1, 1}, block{1, 1, 1}, cluster{0, 0, 0};
  uint32_t shared_bytes = 0;
  bool is_cooperative = false;
  bool is_programmatic = false;
  bool is_prepare = false;
  std::vector<PlannedArgument> arguments;
};

struct PlannedMemset {
  FibPlanPointer target{};
  uint64_t bytes = 0;
  uint8_t value = 0;
  bool is_prepare = false;
};

struct LaunchPlan {
  std::vector<std::variant<PlannedLaunch, PlannedMemset>> steps;  // in order
  uint64_t workspace_bytes = 0;
  uint64_t prepared_bytes = 0;
};

// "launch 2, kernel 'x<4>'" or "step 0, memset": how errors name a step.
std::string describe_step(const LaunchPlan& plan, size_t step);

// A plan has at most this many steps, and a launch this many bytes of arguments.
inline constexpr size_t kMaxPlanSteps = 4096;
inline constexpr size_t kMaxArgumentBytes = 4096;

// Runs a plan entry and collects what it asks for. Fails (kInvalidInput) with the plan's own
// reason if it calls fail(), and for what can't be written down as a plan.
Result<LaunchPlan> collect_plan(FibPlanEntry entry, const FibPlanProblem& problem);

struct PlanLimits {
  std::vector<uint64_t> input_bytes, output_bytes;  // by index; 0 for host scalars
  std::vector<std::string> kernels;                 // name expressions that were compiled
  FibPlanDevice device{};
  uint64_t max_workspace_bytes = 0;
  uint64_t max_prepared_bytes = 0;
  std::vector<int32_t> weights;  // the inputs that prepare steps may read
};
// Every pointer inside its buffer, every launch within the device's limits, every kernel known.
// The error names the launch ("launch 2, kernel 'x<4>': block of 2048 threads, at most 1024").
Result<void> check_plan(const LaunchPlan& plan, const PlanLimits& limits);

// Wire format between the plan process and its parent.
Json plan_to_json(const LaunchPlan& plan);
Result<LaunchPlan> plan_from_json(const Json& json);

}  // namespace fib
