#pragma once

// What a session measures: samples and outcomes, never judgements.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/draws.h"

namespace fib {

enum class TimingMode {
  kCold,   // L2 flushed before each call: the default, and what ranks
  kWarm,   // same inputs again at once
  kGraph,  // the plan captured as a CUDA graph and replayed, L2 cold
};
std::string_view timing_mode_name(TimingMode mode);  // "cold", "warm", "graph"

enum class Clock {
  kCupti,       // device activity records over all streams
  kCudaEvents,  // visible second choice where CUPTI is missing
  kHost,        // the parent's steady clock (cpu target)
};
std::string_view clock_name(Clock clock);  // "cupti", "events", "host"

struct Sample {
  double time_ns = 0.0;        // one call
  uint32_t contender = 0;      // index into MeasureRequest::contenders
  uint32_t value_set = 0;
  uint32_t round = 0;          // contenders of one round were timed back to back
  uint32_t calls = 1;          // calls averaged in this sample (cpu batches)
  uint32_t sm_clock_mhz = 0;   // 0: not known
  uint32_t memory_clock_mhz = 0;
  uint32_t throttle_reasons = 0;  // NVML bits (nvmlClocksEventReasons)
};

// Why a candidate could not be measured to the end. Each is a verdict in the making.
enum class FaultKind {
  kNone,
  kCrash,            // the worker died on a signal (cpu) or the context was lost (cuda)
  kTimeout,          // hang or far too slow
  kReturnedError,    // the candidate's entry returned non-zero
  kPlanFailed,       // plan.cpp crashed, hung, called fail() or returned nonsense
  kPlanTooMuch,      // asks for more threads, shared memory, workspace than there is
  kKernelNotFound,   // name expression or symbol missing
  kLaunchFailed,     // the driver refused a launch
  kDeviceFault,      // illegal address, assert, misaligned: sticky device error
  kOutOfMemory,
  kOutOfBounds,      // a guard region was overwritten
  kInputModified,    // an input's checksum changed
  kUnstableOutput,   // a timed output differs from the checked output of the same inputs
  kNotDeterministicShape,  // set of kernels changed between calls
};
std::string_view fault_kind_name(FaultKind kind);  // "crash", "timeout", ...

struct Fault {
  FaultKind kind = FaultKind::kNone;
  std::string message;  // for the author: what, where; no seeds, no expected values
};

struct ModeTiming {
  TimingMode mode = TimingMode::kCold;
  Clock clock = Clock::kHost;
  std::vector<Sample> samples;
};

struct KernelShare {
  std::string name;          // demangled
  double share = 0.0;        // of the call's device time
  uint32_t registers = 0;    // a thread
  uint32_t shared_bytes = 0; // static + dynamic, a block
  uint32_t grid[3] = {0, 0, 0};
  uint32_t block[3] = {0, 0, 0};
};

// Everything about one contender.
struct ContenderOutcome {
  std::optional<Fault> fault;
  // One an output, merged over the value sets and the calls checked.
  std::vector<ErrorStats> checks;
  // Worst relative RMS error over honest relative RMS error, by output, over the value sets.
  std::vector<double> worst_honest_ratio;
  std::vector<DrawRecord> draws;  // by output; empty where elements are compared
  int64_t calls_checked = 0;
  int64_t calls_timed = 0;
  std::vector<ModeTiming> timings;
  std::vector<KernelShare> kernels;
  size_t workspace_bytes = 0;
  double prepare_ns = 0.0;         // one-time weight preparation, apart from the calls
  size_t prepared_bytes = 0;
  double cross_check_ratio = 0.0;  // second clock / first clock, 0: none
  std::string log;                 // notes: clock fallback, candidate's stderr (bounded)
};

}  // namespace fib
