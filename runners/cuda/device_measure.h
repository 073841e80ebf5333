#pragma once

// Checking and timing the contenders of one problem, on the device. Commands come from the
// session one by one (device_protocol.h), so that it can keep deadlines and decide when to stop.

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "runners/cuda/device_clock.h"
#include "runners/cuda/device_kernels.h"
#include "runners/cuda/device_layout.h"
#include "runners/cuda/device_protocol.h"
#include "runners/cuda/nvml.h"

namespace fib {

// What outlives a problem: memory is taken once and grown.
struct DeviceResources {
  DeviceContext& context;
  HarnessKernels& kernels;
  DeviceClock& clock;
  const Nvml* nvml = nullptr;  // null: clocks are not known
  void* nvml_device = nullptr;
  DeviceMemory arena, originals, kept, expected, stats, report;
  PinnedMemory report_copy;    // CallReport
  PinnedMemory progress;       // steps done, written by the stream
};

class DeviceMeasure {
 public:
  DeviceMeasure(DeviceResources& resources, DeviceProblem problem);

  Result<void> upload(size_t original, uint64_t offset, std::span<const std::byte> bytes);
  std::optional<Fault> load(uint32_t contender, std::span<const std::byte> cubin,
                            LoweredNames names, LaunchPlan plan);

  struct CheckAnswer {
    std::optional<Fault> fault;
    bool lost = false;
    double prepare_ns = 0.0;
  };
  Result<CheckAnswer> check(uint32_t contender, uint32_t set, uint64_t seed);
  Result<BlockAnswer> block(const BlockRequest& request);
  // `staging` holds the piece of an output's expected values; to be called in order. The last
  // piece answers with the statistics of every kept output of the value set.
  Result<std::vector<KeptStats>> compare(const CompareRequest& request,
                                         std::span<const std::byte> staging);
  // Copies a kept output to `staging`. Answers how many versions there are.
  Result<size_t> fetch(const FetchRequest& request, std::span<std::byte> staging);

 private:
  static constexpr uint64_t kOutputSalt = 1000, kPreparedSalt = 2000;  // inputs: their position

  struct Digest {
    uint64_t word[2] = {0, 0};
    friend bool operator==(const Digest&, const Digest&) = default;
  };
  struct KeptOutput {
    Digest digest;
    DeviceMemory own;         // versions beyond the first live in memory of their own
    CUdeviceptr address = 0;  // all outputs, at output_offsets_
  };
  struct Contender {
    std::vector<std::byte> cubin;
    LoweredNames names;
    LaunchPlan plan;
    std::optional<Fault> out_of_memory;  // then its plan is empty, and it isn't run
    std::optional<LoadedKernels> kernels;
    bool has_state = false;  // device variables: loaded afresh for each call
    std::map<uint32_t, std::vector<KeptOutput>> kept;  // by value set
    CUdeviceptr prepared = 0;
    Digest prepared_digest;
    std::map<TimingMode, std::vector<KernelRecord>> launches;  // of the first timed call
    std::vector<double> kernel_ns;                             // sums over cold calls
  };
  // How a call went wrong. Lost: the context is broken.
  struct CallFault {
    Fault fault;
    bool lost = false;
  };
  using Outcome = Result<std::optional<CallFault>>;
  struct Call {
    Contender& contender;
    uint32_t set = 0;
    TimingMode mode = TimingMode::kCold;
    bool is_stepwise = false;       // names the kernel that breaks or hangs
    bool is_timed = false;
    bool checks_residents = true;   // digests of what stays in place for a whole block
    LayoutRandom& random;
  };

  Result<void> arrange();  // memory for everything, once all contenders are loaded
  Result<void> reserve_memory();
  std::vector<LayoutBuffer> resident_buffers() const;
  std::vector<LayoutBuffer> call_buffers(uint64_t workspace_bytes) const;
  Result<void> fill_input(size_t input, uint32_t set, CUdeviceptr address);
  Result<void> poison(CUdeviceptr address, uint64_t bytes, LayoutRandom& random);
  // What the outputs hold before a call: rubbish, or the content of the inputs they are in place of.
  Result<void> furnish_outputs(const Layout& layout, uint32_t set, LayoutRandom& random);
  Result<void> digest_inputs(const Layout& layout, bool with_residents, CUdeviceptr digest);
  Result<void> digest_outputs(const Layout& layout, CUdeviceptr digest);
  Result<Digest> read_digest(CUdeviceptr digest);
  Result<void> place_residents(uint32_t set, LayoutRandom& random);
  Outcome prepare(Contender& contender, LayoutRandom& random, double* prepare_ns);
  PlanAddresses addresses_of(const Contender& contender, const Layout& layout) const;

  Outcome run_call(const Call& call);
  Outcome launch(const Call& call, const BoundPlan& bound, const Layout& layout);
  Outcome launch_stepwise(const BoundPlan& bound);
  Outcome launch_timed(const Call& call, const BoundPlan& bound);
  Outcome launch_graph(const Call& call, const BoundPlan& bound);
  // Waits; what breaks or hangs meanwhile is the fault of the kernels in flight.
  std::optional<CallFault> settle(const BoundPlan& bound, bool is_stepwise);
  Outcome judge_report(const Call& call, const Layout& layout);
  Result<bool> keep_output(Contender& contender, uint32_t set, const Digest& digest,
                           const Layout& layout);
  bool note_kernels(Contender& contender, const CallRecord& record, TimingMode mode);
  std::vector<KernelShare> shares_of(const Contender& contender) const;
  CUdeviceptr report_at(size_t offset) const { return device_.report.address() + offset; }

  DeviceResources& device_;
  DeviceProblem problem_;
  std::vector<uint64_t> original_offsets_, output_offsets_;
  uint64_t outputs_bytes_ = 0;
  uint64_t resident_bytes_ = 0;
  std::vector<Contender> contenders_;
  bool is_arranged_ = false;
  bool was_timed_ = false;  // the last call got as far as the clock
  uint64_t resident_room_ = 0, call_room_ = 0;
  std::optional<uint32_t> resident_set_;
  Layout residents_;
  std::vector<size_t> resident_inputs_, call_inputs_;         // positions in problem_.inputs
  std::map<std::pair<uint32_t, bool>, Digest> input_digests_;  // by value set, with residents
  uint64_t kept_used_ = 0;
  uint64_t extra_kept_bytes_ = 0;
};

}  // namespace fib
