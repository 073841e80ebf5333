#include "runners/cuda/device_measure.h"

#include <fmt/format.h>

#include <algorithm>

#include "runners/cuda/cubin.h"

namespace fib {
namespace {

constexpr uint64_t kMinSlack = 256 << 10, kMaxSlack = 64 << 20;  // room in which buffers move
constexpr uint64_t kCheapResidents = 256 << 20;  // digested after every call, larger ones less often
constexpr double kExtraKeptShare = 0.4;  // of the free memory, for outputs that vary

uint64_t align(uint64_t bytes) { return (bytes + kBufferAlign - 1) / kBufferAlign * kBufferAlign; }

}  // namespace

DeviceMeasure::DeviceMeasure(DeviceResources& resources, DeviceProblem problem)
    : device_(resources), problem_(std::move(problem)) {
  uint64_t offset = 0;
  for (const uint64_t bytes : problem_.original_bytes) {
    original_offsets_.push_back(offset);
    offset += align(bytes);
  }
  for (const DeviceTensor& output : problem_.outputs) {
    output_offsets_.push_back(outputs_bytes_);
    outputs_bytes_ += align(output.bytes);
  }
  for (size_t i = 0; i < problem_.inputs.size(); ++i) {
    const DeviceTensor& input = problem_.inputs[i];
    if (input.is_scalar) continue;
    (input.is_resident ? resident_inputs_ : call_inputs_).push_back(i);
  }
  contenders_.resize(problem_.num_contenders);
}

Result<void> DeviceMeasure::upload(size_t original, uint64_t offset,
                                   std::span<const std::byte> bytes) {
  const uint64_t total = original_offsets_.back() + align(problem_.original_bytes.back());
  FIB_CHECK(device_.originals.reserve(total));
  const CudaDriver& driver = device_.context.driver();
  FIB_CHECK(driver.check(
      driver.cuMemcpyHtoDAsync(device_.originals.address() + original_offsets_.at(original) + offset,
                               bytes.data(), bytes.size(), device_.context.stream()),
      "input upload"));
  return device_.context.wait(problem_.call_timeout_s);
}

std::optional<Fault> DeviceMeasure::load(uint32_t index, std::span<const std::byte> cubin,
                                         LoweredNames names, LaunchPlan plan) {
  Contender& contender = contenders_.at(index);
  contender.cubin.assign(cubin.begin(), cubin.end());
  contender.names = std::move(names);
  contender.plan = std::move(plan);
  contender.has_state = has_device_variables(cubin);
  auto kernels = LoadedKernels::load(device_.context.driver_ptr(), contender.cubin, contender.names);
  if (!kernels) {
    const bool missing = kernels.error().code == ErrorCode::kNotFound;
    return Fault{missing ? FaultKind::kKernelNotFound : FaultKind::kLaunchFailed,
                 kernels.error().message};
  }
  contender.kernels = *std::move(kernels);
  if (auto allowed = contender.kernels->allow(contender.plan); !allowed) {
    return Fault{FaultKind::kPlanTooMuch, allowed.error().message};
  }
  return std::nullopt;
}

std::vector<LayoutBuffer> DeviceMeasure::resident_buffers() const {
  std::vector<LayoutBuffer> buffers;
  for (const size_t i : resident_inputs_) {
    buffers.push_back({"input '" + problem_.inputs[i].name + "'", problem_.inputs[i].bytes});
  }
  for (const Contender& contender : contenders_) {
    if (contender.plan.prepared_bytes > 0) {
      buffers.push_back({"prepared memory", contender.plan.prepared_bytes});
    }
  }
  return buffers;
}

std::vector<LayoutBuffer> DeviceMeasure::call_buffers(uint64_t workspace_bytes) const {
  std::vector<LayoutBuffer> buffers;
  for (const size_t i : call_inputs_) {
    buffers.push_back({"input '" + problem_.inputs[i].name + "'", problem_.inputs[i].bytes});
  }
  for (const DeviceTensor& output : problem_.outputs) {
    buffers.push_back({"output '" + output.name + "'", output.bytes});
  }
  buffers.push_back({"the workspace", workspace_bytes});
  return buffers;
}

// Where memory runs out, the contender that asks for most gives up its share; without one that asks
// for any, the problem itself is too large.
Result<void> DeviceMeasure::arrange() {
  if (is_arranged_) return {};
  const auto asked = [](const Contender& contender) {
    return contender.plan.workspace_bytes + contender.plan.prepared_bytes;
  };
  while (true) {
    auto reserved = reserve_memory();
    if (reserved) return {};
    Contender& hungriest = *std::max_element(
        contenders_.begin(), contenders_.end(),
        [&](const Contender& a, const Contender& b) { return asked(a) < asked(b); });
    if (reserved.error().code != ErrorCode::kResourceExhausted || asked(hungriest) == 0) {
      return reserved;
    }
    hungriest.out_of_memory = Fault{
        FaultKind::kOutOfMemory,
        fmt::format("asked for {} bytes of workspace and {} of prepared memory: {}",
                    hungriest.plan.workspace_bytes, hungriest.plan.prepared_bytes,
                    reserved.error().message)};
    hungriest.plan = {};
  }
}

Result<void> DeviceMeasure::reserve_memory() {
  uint64_t workspace = 0;
  for (const Contender& contender : contenders_) {
    workspace = std::max(workspace, contender.plan.workspace_bytes);
  }
  const std::vector<LayoutBuffer> residents = resident_buffers();
  resident_bytes_ = 0;
  for (const LayoutBuffer& buffer : residents) resident_bytes_ += buffer.bytes;
  const uint64_t call_bytes = layout_bytes(call_buffers(workspace));
  const uint64_t resident_bytes = layout_bytes(residents);
  const uint64_t slack = std::clamp((call_bytes + resident_bytes) / 16, kMinSlack, kMaxSlack);
  call_room_ = align(call_bytes + slack);
  resident_room_ = residents.empty() ? 0 : align(resident_bytes + slack);
  FIB_CHECK(device_.kept.reserve(std::max<uint64_t>(
      outputs_bytes_ * contenders_.size() * problem_.sets.size(), kBufferAlign)));
  FIB_CHECK(device_.arena.reserve(call_room_ + resident_room_));
  FIB_CHECK(device_.report.reserve(sizeof(CallReport)));
  extra_kept_bytes_ =
      static_cast<uint64_t>(kExtraKeptShare * static_cast<double>(device_.context.free_bytes()));
  is_arranged_ = true;
  return {};
}

Result<DeviceMeasure::CheckAnswer> DeviceMeasure::check(uint32_t index, uint32_t set,
                                                        uint64_t seed) {
  FIB_CHECK(arrange());
  LayoutRandom random(seed);
  Contender& contender = contenders_.at(index);
  CheckAnswer answer;
  if (contender.out_of_memory) {
    answer.fault = contender.out_of_memory;
    return answer;
  }
  if (resident_set_ != set) FIB_CHECK(place_residents(set, random));
  auto fault = FIB_TRY(prepare(contender, random, &answer.prepare_ns));
  if (!fault) {
    fault = FIB_TRY(run_call(
        {.contender = contender, .set = set, .is_stepwise = true, .random = random}));
  }
  if (fault) {
    answer.fault = std::move(fault->fault);
    answer.lost = fault->lost;
  }
  return answer;
}

Result<BlockAnswer> DeviceMeasure::block(const BlockRequest& request) {
  LayoutRandom random(request.seed);
  BlockAnswer answer;
  std::vector<uint32_t> active = request.contenders;
  const auto drop = [&](uint32_t contender, CallFault fault) {
    answer.faults.push_back({contender, std::move(fault.fault)});
    answer.lost = answer.lost || fault.lost;
    std::erase(active, contender);
  };

  const bool has_residents = resident_bytes_ > 0;
  if (has_residents) {
    FIB_CHECK(place_residents(request.set, random));
    for (const uint32_t index : request.contenders) {
      if (auto fault = FIB_TRY(prepare(contenders_.at(index), random, nullptr))) {
        drop(index, *std::move(fault));
        if (answer.lost) return answer;
      }
    }
  }
  const uint32_t rounds = request.warmup_rounds + request.rounds;
  for (uint32_t i = 0; i < rounds && !active.empty(); ++i) {
    const uint32_t set =
        has_residents ? request.set : static_cast<uint32_t>(random() % problem_.sets.size());
    std::vector<uint32_t> order = active;
    std::shuffle(order.begin(), order.end(), random);
    for (const uint32_t index : order) {
      const bool is_timed = i >= request.warmup_rounds;
      const bool checks_residents = resident_bytes_ <= kCheapResidents ||
                                    contenders_.size() > 1 || i + 1 == rounds;
      auto fault = FIB_TRY(run_call({.contender = contenders_.at(index),
                                     .set = set,
                                     .mode = request.mode,
                                     .is_timed = is_timed,
                                     .checks_residents = checks_residents,
                                     .random = random}));
      if (was_timed_) {  // also a call that failed its checks: the clock has it
        answer.samples.push_back({.contender = index,
                                  .value_set = set,
                                  .round = request.first_round + i - request.warmup_rounds});
      }
      if (fault) {
        drop(index, *std::move(fault));
        if (answer.lost) return answer;
      } else {
        ++answer.calls_checked;
      }
    }
  }
  const NvmlReading clocks =
      device_.nvml ? device_.nvml->read(device_.nvml_device) : NvmlReading{};
  const std::vector<CallRecord> records = FIB_TRY(device_.clock.collect());
  if (records.size() != answer.samples.size()) {
    return fail(ErrorCode::kEnvironment, fmt::format("{} calls timed, {} records",
                                                     answer.samples.size(), records.size()));
  }
  for (size_t i = 0; i < records.size(); ++i) {
    Sample& sample = answer.samples[i];
    sample.time_ns = records[i].time_ns;
    sample.sm_clock_mhz = clocks.sm_clock_mhz;
    sample.memory_clock_mhz = clocks.memory_clock_mhz;
    sample.throttle_reasons = static_cast<uint32_t>(clocks.throttle_reasons);
    if (std::find(active.begin(), active.end(), sample.contender) == active.end()) continue;
    if (sample.time_ns == 0.0) {
      return fail(ErrorCode::kEnvironment, "no activity was recorded for a timed call", "CUPTI");
    }
    if (!note_kernels(contenders_[sample.contender], records[i], request.mode)) {
      drop(sample.contender, {{FaultKind::kNotDeterministicShape,
                               "the kernels of a timed call differ from those of the first"}});
    }
  }
  for (const Contender& contender : contenders_) answer.kernels.push_back(shares_of(contender));
  return answer;
}

}  // namespace fib
