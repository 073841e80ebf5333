#include "harness/sample.h"

namespace fib {

std::string_view timing_mode_name(TimingMode mode) {
  switch (mode) {
    case TimingMode::kCold: return "cold";
    case TimingMode::kWarm: return "warm";
    case TimingMode::kGraph: return "graph";
  }
  return "unknown";
}

std::string_view clock_name(Clock clock) {
  switch (clock) {
    case Clock::kCupti: return "cupti";
    case Clock::kCudaEvents: return "events";
    case Clock::kHost: return "host";
  }
  return "unknown";
}

std::string_view fault_kind_name(FaultKind kind) {
  switch (kind) {
    case FaultKind::kNone: return "none";
    case FaultKind::kCrash: return "crash";
    case FaultKind::kTimeout: return "timeout";
    case FaultKind::kReturnedError: return "returned-error";
    case FaultKind::kPlanFailed: return "plan-failed";
    case FaultKind::kPlanTooMuch: return "plan-too-much";
    case FaultKind::kKernelNotFound: return "kernel-not-found";
    case FaultKind::kLaunchFailed: return "launch-failed";
    case FaultKind::kDeviceFault: return "device-fault";
    case FaultKind::kOutOfMemory: return "out-of-memory";
    case FaultKind::kOutOfBounds: return "out-of-bounds";
    case FaultKind::kInputModified: return "input-modified";
    case FaultKind::kUnstableOutput: return "unstable-output";
    case FaultKind::kNotDeterministicShape: return "changing-kernels";
  }
  return "unknown";
}

}  // namespace fib
