#include "runners/cuda/device_probe.h"

#include <fmt/format.h>

#include <algorithm>

namespace fib {
namespace {

struct Ceilings {
  std::string_view name;  // part of the device's name
  double bandwidth_gbps, tensor_tflops, fp32_tflops;
};

// From NVIDIA's datasheets: dense bf16, SXM boards unless the name says otherwise. The first
// match counts.
constexpr Ceilings kDatasheet[] = {
    {"H200", 4800, 989, 67},     {"H100 PCIe", 2000, 756, 51}, {"H100 NVL", 3900, 835, 60},
    {"H100", 3350, 989, 67},     {"H800", 3350, 989, 67},      {"H20", 4000, 148, 44},
    {"B200", 8000, 2250, 75},    {"A100-SXM4-80GB", 2039, 312, 19.5},
    {"A100 80GB PCIe", 1935, 312, 19.5}, {"A100", 1555, 312, 19.5}, {"A800", 2039, 312, 19.5},
    {"L40S", 864, 362, 91.6},    {"L40", 864, 181, 90.5},      {"L4", 300, 121, 30.3},
    {"RTX 4090", 1008, 165, 82.6}, {"RTX 5090", 1792, 209, 104.8},
};

std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

}  // namespace

void set_ceilings(const DeviceFacts& facts, DeviceInfo& info) {
  for (const Ceilings& known : kDatasheet) {
    if (facts.name.find(known.name) == std::string::npos) continue;
    info.bandwidth_gbps = known.bandwidth_gbps;
    info.tensor_tflops = known.tensor_tflops;
    info.fp32_tflops = known.fp32_tflops;
    info.ceilings_source = "datasheet";
    return;
  }
  // Memory transfers twice a clock; 128 fp32 lanes a multiprocessor, a multiply-add being two; the
  // matrix units of an unknown card are taken for Ampere's, eight times that.
  info.bandwidth_gbps = 2.0 * facts.memory_clock_khz * 1e3 * facts.memory_bus_bits / 8.0 / 1e9;
  info.fp32_tflops = 2.0 * 128 * facts.plan.multiprocessors * facts.clock_khz * 1e3 / 1e12;
  info.tensor_tflops = 8.0 * info.fp32_tflops;
  info.ceilings_source = "estimated from clocks and bus width";
}

Json device_to_json(const DeviceInfo& info, const FibPlanDevice& plan) {
  Json libraries = Json::array();
  for (const auto& [name, version] : info.libraries) libraries.push_back({name, version});
  return {{"index", info.index},
          {"name", info.name},
          {"key", info.key},
          {"architecture", info.architecture},
          {"bandwidth_gbps", info.bandwidth_gbps},
          {"tensor_tflops", info.tensor_tflops},
          {"fp32_tflops", info.fp32_tflops},
          {"ceilings_source", info.ceilings_source},
          {"libraries", libraries},
          {"compute_major", plan.compute_major},
          {"compute_minor", plan.compute_minor},
          {"multiprocessors", plan.multiprocessors},
          {"max_threads_per_multiprocessor", plan.max_threads_per_multiprocessor},
          {"max_shared_bytes_per_block", plan.max_shared_bytes_per_block},
          {"max_shared_bytes_per_multiprocessor", plan.max_shared_bytes_per_multiprocessor},
          {"warp_size", plan.warp_size},
          {"l2_bytes", plan.l2_bytes},
          {"memory_bytes", plan.memory_bytes}};
}

DeviceInfo device_info_from_json(const Json& json) {
  DeviceInfo info;
  info.index = json.at("index");
  info.target = "cuda";
  info.name = json.at("name");
  info.key = json.at("key");
  info.architecture = json.at("architecture");
  info.multiprocessors = json.at("multiprocessors");
  info.memory_bytes = json.at("memory_bytes");
  info.l2_bytes = json.at("l2_bytes");
  info.bandwidth_gbps = json.at("bandwidth_gbps");
  info.tensor_tflops = json.at("tensor_tflops");
  info.fp32_tflops = json.at("fp32_tflops");
  info.ceilings_source = json.at("ceilings_source");
  for (const Json& pair : json.at("libraries")) info.libraries.emplace_back(pair.at(0), pair.at(1));
  return info;
}

FibPlanDevice plan_device_from_json(const Json& json) {
  FibPlanDevice plan{};
  plan.compute_major = json.at("compute_major");
  plan.compute_minor = json.at("compute_minor");
  plan.multiprocessors = json.at("multiprocessors");
  plan.max_threads_per_multiprocessor = json.at("max_threads_per_multiprocessor");
  plan.max_shared_bytes_per_block = json.at("max_shared_bytes_per_block");
  plan.max_shared_bytes_per_multiprocessor = json.at("max_shared_bytes_per_multiprocessor");
  plan.warp_size = json.at("warp_size");
  plan.l2_bytes = json.at("l2_bytes");
  plan.memory_bytes = json.at("memory_bytes");
  return plan;
}

Result<Json> probe_devices(const std::filesystem::path& nvml_library) {
  const CudaDriverPtr driver = FIB_TRY(CudaDriver::open());
  int version = 0, count = 0;
  driver->cuDriverGetVersion(&version);
  FIB_CHECK(driver->check(driver->cuDeviceGetCount(&count), "cuDeviceGetCount"));
  auto nvml = Nvml::open(nvml_library);
  Json json;
  json["cuda_version"] = version_text(version);
  json["driver_version"] = nvml ? (*nvml)->driver_version() : "";
  json["devices"] = Json::array();
  for (int index = 0; index < count; ++index) {
    const DeviceFacts facts = FIB_TRY(read_device_facts(*driver, index));
    DeviceInfo info{.index = index,
                    .name = facts.name,
                    .key = hardware_key(facts.name),
                    .architecture = facts.architecture};
    set_ceilings(facts, info);
    info.libraries.emplace_back("cuda", version_text(version));
    if (nvml) info.libraries.emplace_back("driver", (*nvml)->driver_version());
    Json device = device_to_json(info, facts.plan);
    if (nvml) {
      if (auto handle = (*nvml)->device(facts.pci_bus_id)) {
        const NvmlReading reading = (*nvml)->read(*handle);
        device["sm_clock_mhz"] = reading.sm_clock_mhz;
        device["max_sm_clock_mhz"] = (*nvml)->max_sm_clock_mhz(*handle);
        device["memory_clock_mhz"] = reading.memory_clock_mhz;
        device["throttle_reasons"] = reading.throttle_reasons;
        device["temperature_c"] = (*nvml)->temperature_c(*handle);
        device["power_w"] = (*nvml)->power_w(*handle);
      }
    }
    json["devices"].push_back(std::move(device));
  }
  return json;
}

}  // namespace fib
