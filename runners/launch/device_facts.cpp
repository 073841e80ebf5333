#include "runners/launch/device_facts.h"

#include <fmt/format.h>

namespace fib {

Result<DeviceFacts> read_device_facts(const CudaDriver& driver, int index) {
  CUdevice device = 0;
  FIB_CHECK(driver.check(driver.cuDeviceGet(&device, index), fmt::format("device {}", index)));
  const auto attribute = [&](CUdevice_attribute which) {
    int value = 0;
    driver.cuDeviceGetAttribute(&value, which, device);
    return value;
  };
  DeviceFacts facts;
  char text[256] = "";
  driver.cuDeviceGetName(text, sizeof text, device);
  facts.name = text;
  driver.cuDeviceGetPCIBusId(text, sizeof text, device);
  facts.pci_bus_id = text;
  size_t memory = 0;
  driver.cuDeviceTotalMem(&memory, device);

  FibPlanDevice& plan = facts.plan;
  plan.compute_major = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
  plan.compute_minor = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  plan.multiprocessors = attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  plan.max_threads_per_multiprocessor =
      attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR);
  plan.max_shared_bytes_per_block =
      attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
  plan.max_shared_bytes_per_multiprocessor =
      attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR);
  plan.warp_size = attribute(CU_DEVICE_ATTRIBUTE_WARP_SIZE);
  plan.l2_bytes = attribute(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
  plan.memory_bytes = static_cast<int64_t>(memory);
  facts.clock_khz = attribute(CU_DEVICE_ATTRIBUTE_CLOCK_RATE);
  facts.memory_clock_khz = attribute(CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE);
  facts.memory_bus_bits = attribute(CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH);
  // From Hopper on, wgmma and the like exist only for the architecture itself.
  facts.architecture = fmt::format("sm_{}{}{}", plan.compute_major, plan.compute_minor,
                                   plan.compute_major >= 9 ? "a" : "");
  return facts;
}

std::string hardware_key(std::string name) {
  for (char& c : name) {
    const bool keep = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                      c == '-' || c == '.';
    if (!keep) c = '_';
  }
  return name;
}

}  // namespace fib
