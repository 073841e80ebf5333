#pragma once

// Launches of the harness's own kernels (device/harness.cu).

#include "runners/cuda/device/harness_abi.h"
#include "runners/cuda/device_context.h"
#include "runners/launch/replayer.h"
#include "signatures/base/dtype.h"

namespace fib {

ElementFormat element_format(DType dtype);

class HarnessKernels {
 public:
  // The kernels' names, for compiling them.
  static std::vector<std::string> names();
  static Result<HarnessKernels> load(const DeviceContext& context,
                                     std::span<const std::byte> cubin);

  Result<void> fill(const FillArguments& arguments) const;
  Result<void> write_guards(const GuardList& guards) const;
  Result<void> check_guards(const GuardList& guards, CUdeviceptr report) const;
  // Adds the digest of `bytes` bytes to the two words at `digest`.
  Result<void> digest(const DigestArguments& arguments) const;
  // Pushes everything else out of L2; reserves what it needs at the first call.
  Result<void> flush_l2(uint64_t value);
  Result<void> compare(const CompareArguments& arguments) const;

 private:
  HarnessKernels(const DeviceContext& context, LoadedKernels kernels);
  Result<void> launch(CUfunction function, uint64_t blocks, std::span<void*> arguments) const;
  uint64_t blocks_for(uint64_t items) const;  // enough to fill the card, no more

  const DeviceContext* context_;
  LoadedKernels kernels_;
  DeviceMemory flush_buffer_;
  CUfunction fill_, guard_write_, guard_check_, digest_, flush_write_, flush_read_, compare_;
};

}  // namespace fib
