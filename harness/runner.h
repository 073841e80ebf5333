#pragma once

// The seam between judging and running. A Runner serves one target; a Session is one device (or
// one CPU worker) that checks and times problems. Both report facts; harness/judge.h judges.

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "harness/expected.h"
#include "harness/sample.h"
#include "signatures/solution_folder.h"
#include "workloads/inputs.h"

namespace fib {

struct Support {
  bool ok = false;
  std::string reason;  // why not
  std::string remedy;
};

struct DeviceInfo {
  int index = 0;
  std::string target;     // "cpu", "cuda"
  std::string name;       // "NVIDIA H100 80GB HBM3", "Intel(R) Xeon(R) ..., 16 threads"
  std::string key;        // hardware identity in the store: "NVIDIA_H100_80GB_HBM3"
  std::string architecture;  // "sm_90a"; "x86-64 avx512"
  int threads = 0;        // cpu
  int multiprocessors = 0;
  size_t memory_bytes = 0;
  size_t l2_bytes = 0;
  // Ceilings for the roofline; from a measured table or the datasheet, `ceilings_source` says.
  double bandwidth_gbps = 0.0;
  double tensor_tflops = 0.0;   // dense bf16/fp16
  double fp32_tflops = 0.0;
  std::string ceilings_source;
  std::vector<std::pair<std::string, std::string>> libraries;  // "driver" -> "580.159.04"
};

// A solution compiled for a target: opaque to the harness but for its identity.
struct Artifact {
  std::string solution_key;
  std::string build_key;            // everything that can change the binary
  std::filesystem::path folder;     // in the build cache
  SolutionManifest manifest;
  bool from_cache = false;
  double build_ms = 0.0;
  std::string log;                  // compiler warnings
};
using ArtifactPtr = std::shared_ptr<const Artifact>;

struct BuildOutcome {
  ArtifactPtr artifact;             // null: it doesn't compile
  std::string failure_log;          // located messages, shortened
  bool timed_out = false;
};

struct BuildRequest {
  const Solution& solution;
  const Signature& signature;       // {axis} in name expressions; -D macros for const axes
  std::string architecture;         // cuda: "sm_90a"; cpu: "native"
  double timeout_s = 120.0;
};

struct MeasureConfig {
  std::vector<TimingMode> modes = {TimingMode::kCold, TimingMode::kWarm, TimingMode::kGraph};
  int value_sets = 3;
  int min_samples = 20;
  int max_samples = 200;
  double target_relative_ci = 0.01;  // stop when the 95 % interval of the median is narrower
  double max_seconds_per_mode = 1.0;
  double call_timeout_s = 30.0;
  uint64_t seed = 0;                 // secret; addresses, poison and order derive from it
};

struct MeasureRequest {
  // Timed alternately within one round. One today; candidate and incumbent for paired verdicts.
  std::vector<ArtifactPtr> contenders;
  const Problem& problem;
  std::vector<InputSet> value_sets;
  // Called only after a contender's last launch (cuda) or from the parent (cpu).
  std::function<Result<ExpectedPtr>(size_t value_set)> expected;
  MeasureConfig config;
};

class Session {
 public:
  virtual ~Session() = default;
  virtual const DeviceInfo& device() const = 0;
  // One ContenderOutcome a contender. An Error means that the session itself is unusable
  // (no memory for the inputs, device gone); a contender's failure is its outcome's fault.
  // After a fault the session has replaced its worker and is ready for the next request.
  virtual Result<std::vector<ContenderOutcome>> measure(const MeasureRequest& request) = 0;
};

class Runner {
 public:
  virtual ~Runner() = default;
  virtual std::string_view target() const = 0;             // "cpu", "cuda"
  virtual Support available() const = 0;                   // on this machine
  // True where candidates are timed on the host's processors: then nothing else runs meanwhile.
  virtual bool measures_on_host() const { return target() == "cpu"; }
  virtual Support supports(const Solution& solution, const Signature& signature) const = 0;
  virtual std::vector<DeviceInfo> devices() const = 0;
  // Thread-safe; called from the compile farm while sessions measure.
  virtual Result<BuildOutcome> build(const BuildRequest& request) = 0;
  virtual Result<std::unique_ptr<Session>> open_session(int device_index) = 0;
};

struct RunnerOptions {
  std::filesystem::path cache_folder;       // build cache
  std::filesystem::path worker_executable;  // the fib binary: `fib internal-worker KIND`
  std::filesystem::path include_folder;     // harness/abi: candidate headers
};

}  // namespace fib
