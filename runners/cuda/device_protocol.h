#pragma once

// What the session (parent) and the device worker (child) say to each other. Messages are JSON;
// bulk bytes travel through one staging area of shared memory.
//
//   open     {index, cupti, nvml, cubin_bytes}      harness kernels in staging -> DeviceHello
//   begin    {problem}                              forgets the last problem
//   upload   {original, offset, bytes}              explicit input bytes from staging
//   load     {contender, plan, names, cubin_bytes}  device binary in staging -> {fault?}
//   check    {contender, set, seed}                 first calls, stepwise -> {fault?, prepare_ns}
//   block    {...}                                  timed calls -> BlockAnswer
//   compare  {set, output, first, count, ...}       expected values in staging -> {stats?}
//   fetch    {contender, set, output, version}      a kept output to staging -> {versions}
// An answer with "lost" says that the context is broken: the worker is of no further use.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "harness/abi/fib/philox.h"
#include "harness/sample.h"
#include "runners/cuda/device/harness_abi.h"
#include "signatures/base/dtype.h"
#include "signatures/base/json.h"

namespace fib {

inline constexpr size_t kStagingBytes = 64 << 20;

struct DeviceTensor {
  std::string name;
  DType dtype = DType::kFloat32;
  int64_t elements = 0;
  uint64_t bytes = 0;
  bool is_scalar = false;    // passed by value: the plan has it, no memory
  bool is_resident = false;  // inputs: filled once a block, because it is huge or prepared from
  std::optional<size_t> in_place_of;  // outputs: filled from this input before every call
};

// Where an input's values come from in one value set.
struct DeviceSource {
  std::optional<size_t> original;  // explicit bytes, by index into DeviceProblem::original_bytes
  ValueRule rule{};                // else generated
  uint64_t seed = 0;
  uint32_t stream = 0;
};

struct DeviceProblem {
  std::vector<DeviceTensor> inputs, outputs;
  std::vector<std::vector<DeviceSource>> sets;  // by value set, then input
  std::vector<uint64_t> original_bytes;
  uint32_t num_contenders = 1;
  double call_timeout_s = 30.0;
  uint64_t salt = 0;                            // of digests and guards
};

struct BlockRequest {
  TimingMode mode = TimingMode::kCold;
  std::vector<uint32_t> contenders;  // still in the race, timed in random order each round
  uint32_t first_round = 0, rounds = 0;
  uint32_t warmup_rounds = 0;        // not timed, but checked
  uint32_t set = 0;                  // of resident inputs; others are drawn for each round
  uint64_t seed = 0;
};

struct ContenderFault {
  uint32_t contender = 0;
  Fault fault;
};

struct BlockAnswer {
  std::vector<Sample> samples;
  std::vector<ContenderFault> faults;
  std::vector<std::vector<KernelShare>> kernels;  // by contender; empty: not known
  int64_t calls_checked = 0;
  bool lost = false;
};

struct CompareRequest {
  uint32_t set = 0, output = 0;
  uint64_t first = 0, count = 0;       // elements; staging holds count floats,
  uint64_t row_scales = 0;             // then this many row scales
  uint64_t row_length = 1;
  double max_error_rms = 0.0;
  bool is_last = false;                // then the answer holds the statistics
};

// `version` counts the outputs of a value set that differ from one another.
struct FetchRequest {
  uint32_t contender = 0, set = 0, output = 0, version = 0;
};

// Statistics of one kept output: several for a contender whose output varies from call to call.
struct KeptStats {
  uint32_t contender = 0;
  DeviceErrorStats stats{};
};

Json to_json(const DeviceProblem& problem);
Json to_json(const BlockRequest& request);
Json to_json(const BlockAnswer& answer);
Json to_json(const CompareRequest& request);
Json to_json(const FetchRequest& request);
Json to_json(const std::vector<KeptStats>& stats);
Json to_json(const Fault& fault);
// Both ends are this program: a message that doesn't read is a broken invariant and throws.
DeviceProblem device_problem_from_json(const Json& json);
BlockRequest block_request_from_json(const Json& json);
BlockAnswer block_answer_from_json(const Json& json);
CompareRequest compare_request_from_json(const Json& json);
FetchRequest fetch_request_from_json(const Json& json);
std::vector<KeptStats> kept_stats_from_json(const Json& json);
Fault fault_from_json(const Json& json);

}  // namespace fib
