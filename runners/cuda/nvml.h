#pragma once

// NVML, opened at run time: clocks, throttle reasons, temperature, power. The few functions we
// use are declared here, because no wheel ships nvml.h; their ABI has not changed since CUDA 11.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "signatures/base/result.h"

namespace fib {

struct NvmlReading {
  uint32_t sm_clock_mhz = 0, memory_clock_mhz = 0;  // 0: not known
  uint64_t throttle_reasons = 0;
};

class Nvml {
 public:
  static Result<std::unique_ptr<Nvml>> open(const std::filesystem::path& library);
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  std::string driver_version() const;
  // An opaque handle; by PCI bus id, because CUDA and NVML may number devices differently.
  Result<void*> device(const std::string& pci_bus_id) const;
  NvmlReading read(void* device) const;  // about a millisecond
  uint32_t max_sm_clock_mhz(void* device) const;
  uint32_t temperature_c(void* device) const;
  double power_w(void* device) const;

 private:
  Nvml() = default;
  struct Functions;
  std::unique_ptr<Functions> nvml_;
};

}  // namespace fib
