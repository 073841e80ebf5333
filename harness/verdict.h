#pragma once

// The judgement on one solution, one workload, one piece of hardware, one configuration.

#include <optional>
#include <string>
#include <vector>

#include "harness/runner.h"
#include "harness/statistics.h"

namespace fib {

// Maps one to one onto TraceStatus; `reason` says it finer.
using VerdictStatus = TraceStatus;

struct OutputVerdict {
  std::string name;
  ErrorStats stats;
  double honest_relative_rms = 0.0;  // of the honest implementation, worst value set
  double honest_ratio = 0.0;         // candidate's relative RMS error over the honest one's
  bool passed = false;
};

struct ModeSummary {
  TimingMode mode = TimingMode::kCold;
  Clock clock = Clock::kHost;
  MedianInterval latency_ns;         // median with its 95 % interval
  int64_t samples = 0;
  bool throttled = false;            // any sample under a throttle reason other than idle
};

struct Roofline {
  double bytes = 0.0;
  double flops = 0.0;
  double floor_ns = 0.0;             // the larger of bytes/bandwidth and flops/rate
  double fraction = 0.0;             // floor_ns / cold median; 0: unknown
  std::string bound;                 // "memory" or "compute"
};

enum class PairedResult { kNone, kFaster, kSlower, kSame, kAmbiguous };  // against an incumbent

struct Verdict {
  int64_t id = 0;                    // set by the store
  std::string solution;              // name
  std::string solution_key;
  std::string signature;
  std::string workload;              // workload_id
  Json axes;                         // solved var axes
  double workload_weight = 1.0;
  DeviceInfo device;
  std::string config_key;            // hash of what of the configuration can change the result
  VerdictStatus status = VerdictStatus::kPassed;
  std::string reason;                // "", "crash", "nan-mismatch", "precision", "out-of-bounds"...
  std::string message;               // for the author; never seeds or expected values
  std::vector<OutputVerdict> outputs;
  std::vector<ModeSummary> timings;
  std::vector<ModeTiming> samples;   // raw, kept
  std::vector<KernelShare> kernels;
  Roofline roofline;
  int64_t calls_checked = 0;
  int64_t calls_timed = 0;
  double build_ms = 0.0;
  bool build_cached = false;
  size_t workspace_bytes = 0;
  double prepare_ns = 0.0;
  size_t prepared_bytes = 0;
  PairedResult paired = PairedResult::kNone;
  std::string incumbent;  // solution the pair was, or was to be, against
  std::string incumbent_key;
  std::optional<double> speedup;  // incumbent's time / candidate's, with its 95 % interval
  std::optional<double> speedup_low, speedup_high;
  std::optional<double> noise_floor;  // 0.012: copies of the incumbent differed by 1.2 %
  bool is_confirmed =
      false;                // faster twice; the numbers are then of the second session, a fresh one
  std::string paired_note;  // why there is no pair, or no confirmation
  // Raw samples of all contenders (harness/paired.h): of the pair, then of its confirmation.
  std::vector<ModeTiming> paired_samples;
  std::string log;                   // build log, notes, candidate's stderr
  std::string timestamp;             // local ISO 8601
  double wall_s = 0.0;

  const ModeSummary* timing(TimingMode mode) const;
};

std::string_view paired_result_name(PairedResult result);  // "none", "faster", ...

// Everything but the raw samples, as `fib show --json` prints it; docs/verdicts.md. Units are in
// the field names; non-finite numbers are the strings "Infinity", "-Infinity", "NaN".
Json verdict_to_json(const Verdict& verdict);
Result<Verdict> verdict_from_json(const Json& json, std::string_view where);
Trace verdict_to_trace(const Verdict& verdict, const Workload& workload);

}  // namespace fib
