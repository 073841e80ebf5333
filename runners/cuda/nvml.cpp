#include "runners/cuda/nvml.h"

#include <dlfcn.h>

namespace fib {
namespace {
constexpr int kClockSm = 1, kClockMemory = 2;  // nvmlClockType_t
constexpr int kTemperatureGpu = 0;             // nvmlTemperatureSensors_t
}  // namespace

// nvmlReturn_t is an enum of int, nvmlDevice_t a pointer.
struct Nvml::Functions {
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  int (*driver_version)(char*, unsigned) = nullptr;
  int (*handle_by_bus_id)(const char*, void**) = nullptr;
  int (*clock)(void*, int, unsigned*) = nullptr;
  int (*max_clock)(void*, int, unsigned*) = nullptr;
  int (*reasons)(void*, unsigned long long*) = nullptr;
  int (*temperature)(void*, int, unsigned*) = nullptr;
  int (*power)(void*, unsigned*) = nullptr;
};

Result<std::unique_ptr<Nvml>> Nvml::open(const std::filesystem::path& library) {
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    return fail(ErrorCode::kEnvironment, "NVML does not load", library.string(),
                "it comes with the NVIDIA driver");
  }
  auto functions = std::make_unique<Functions>();
  bool complete = true;
  const auto bind = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
    complete = complete && function;
  };
  bind(functions->init, "nvmlInit_v2");
  bind(functions->shutdown, "nvmlShutdown");
  bind(functions->driver_version, "nvmlSystemGetDriverVersion");
  bind(functions->handle_by_bus_id, "nvmlDeviceGetHandleByPciBusId_v2");
  bind(functions->clock, "nvmlDeviceGetClockInfo");
  bind(functions->max_clock, "nvmlDeviceGetMaxClockInfo");
  bind(functions->reasons, "nvmlDeviceGetCurrentClocksThrottleReasons");
  bind(functions->temperature, "nvmlDeviceGetTemperature");
  bind(functions->power, "nvmlDeviceGetPowerUsage");
  if (!complete || functions->init() != 0) {
    return fail(ErrorCode::kEnvironment,
                complete ? "nvmlInit failed" : "NVML is too old", library.string(),
                "update the NVIDIA driver");
  }
  std::unique_ptr<Nvml> nvml(new Nvml);
  nvml->nvml_ = std::move(functions);
  return nvml;
}

Nvml::~Nvml() {
  if (nvml_) nvml_->shutdown();
}

std::string Nvml::driver_version() const {
  char text[96] = "";
  nvml_->driver_version(text, sizeof text);
  return text;
}

Result<void*> Nvml::device(const std::string& pci_bus_id) const {
  void* device = nullptr;
  if (nvml_->handle_by_bus_id(pci_bus_id.c_str(), &device) != 0) {
    return fail(ErrorCode::kEnvironment, "NVML does not know device " + pci_bus_id);
  }
  return device;
}

NvmlReading Nvml::read(void* device) const {
  NvmlReading reading;
  unsigned long long reasons = 0;
  nvml_->clock(device, kClockSm, &reading.sm_clock_mhz);
  nvml_->clock(device, kClockMemory, &reading.memory_clock_mhz);
  nvml_->reasons(device, &reasons);
  reading.throttle_reasons = reasons;
  return reading;
}

uint32_t Nvml::max_sm_clock_mhz(void* device) const {
  unsigned clock = 0;
  nvml_->max_clock(device, kClockSm, &clock);
  return clock;
}

uint32_t Nvml::temperature_c(void* device) const {
  unsigned celsius = 0;
  nvml_->temperature(device, kTemperatureGpu, &celsius);
  return celsius;
}

double Nvml::power_w(void* device) const {
  unsigned milliwatts = 0;
  nvml_->power(device, &milliwatts);
  return milliwatts / 1000.0;
}

}  // namespace fib
