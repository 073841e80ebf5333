#pragma once

// A store in which somebody's solution was compared with the house's, without measuring anything.

#include <fmt/format.h>

#include <filesystem>
#include <stdexcept>
#include <string>

#include "leaderboard/store.h"
#include "runners/worker/header_digests.h"
#include "signatures/solution_folder.h"

namespace fib::testing {

inline constexpr const char* kPairedHardware = "TEST_CPU";

// The house's `folder` of cpu solutions for rmsnorm, or a copy of it that is somebody else's.
inline Solution house_solution(const std::string& folder, const std::string& renamed = {}) {
  Solution solution = read_solution_folder(std::filesystem::path(FIB_SOURCE_DIR) /
                                           "leaderboard/solutions/cpu/rmsnorm" / folder)
                          .value();
  if (renamed.empty()) return solution;
  solution.name = renamed;
  solution.author = "me";
  solution.sources[0].content += "// " + renamed + "\n";
  return solution;
}

struct PairedVerdict {
  int64_t batch_size = 8;
  double speedup = 1.5;
  VerdictStatus status = VerdictStatus::kPassed;
  std::string solution = "mine", hardware = kPairedHardware;
  std::string headers;  // as DeviceInfo::libraries has them; "": a verdict from before
  std::string architecture = "x86-64";
};

// "mine" over rmsnorm-rows on rmsnorm_h64, faster confirmed.
inline void add_pair(Store& store, const PairedVerdict& spec) {
  const Solution incumbent = house_solution("rmsnorm-rows");
  const Solution candidate = house_solution("rmsnorm-plain", spec.solution);
  Workload workload;
  workload.uuid = fmt::format("w{}", spec.batch_size);
  workload.axes = {{"batch_size", spec.batch_size}};
  Verdict verdict{.solution = candidate.name,
                  .solution_key = solution_key(candidate),
                  .signature = "rmsnorm_h64",
                  .workload = workload.uuid,
                  .axes = {{"batch_size", spec.batch_size}},
                  .device = {.target = "cpu",
                             .name = "Test CPU",
                             .key = spec.hardware,
                             .architecture = spec.architecture},
                  .config_key = "config",
                  .status = spec.status,
                  .timestamp = "2026-11-22T10:00:00+01:00"};
  if (spec.status == VerdictStatus::kPassed) {
    verdict.timings = {{TimingMode::kCold, Clock::kHost, {1000.0, 990.0, 1010.0}, 20, false}};
    verdict.paired = spec.speedup > 1.0 ? PairedResult::kFaster : PairedResult::kSlower;
    verdict.incumbent = incumbent.name;
    verdict.incumbent_key = solution_key(incumbent);
    verdict.speedup = spec.speedup;
    verdict.speedup_low = spec.speedup - 0.02;
    verdict.speedup_high = spec.speedup + 0.02;
    verdict.noise_floor = 0.01;
    verdict.is_confirmed = spec.speedup > 1.0;
  }
  if (!spec.headers.empty()) verdict.device.libraries = {{kHeadersLibrary, spec.headers}};
  if (auto kept = store.add_solution(incumbent); !kept) {
    throw std::runtime_error(kept.error().to_string());
  }
  if (auto added = store.add(verdict, candidate, workload); !added) {
    throw std::runtime_error(added.error().to_string());
  }
}

// Faster at 3 and 8 rows, slower at 70.
inline void make_paired_store(const std::filesystem::path& file) {
  const auto store = Store::open(file).value();
  add_pair(*store, {.batch_size = 3});
  add_pair(*store, {.batch_size = 8, .speedup = 1.4});
  add_pair(*store, {.batch_size = 70, .speedup = 0.8});
}

}  // namespace fib::testing
