#pragma once

// What a card is: its name, the architecture that code is compiled for, and what plans may know.

#include <string>

#include "harness/abi/fib/plan.h"
#include "runners/launch/cuda_driver.h"

namespace fib {

// Facts of device `index`, without a context. `architecture` is what NVRTC compiles for:
// "sm_90a" where the card has features of its own, "sm_80" where it hasn't.
struct DeviceFacts {
  std::string name, architecture, pci_bus_id;
  FibPlanDevice plan{};
  int clock_khz = 0, memory_clock_khz = 0, memory_bus_bits = 0;
};
Result<DeviceFacts> read_device_facts(const CudaDriver& driver, int index);

// What verdicts are filed under: the card's name as a file name, "NVIDIA_H100_80GB_HBM3".
std::string hardware_key(std::string name);

}  // namespace fib
