#pragma once

// What this machine's processor is and can do.

#include <string>

#include "harness/runner.h"
#include "runners/cpu/host_identity.h"

namespace fib {

// Everything about the processor that "-march=native" depends on: part of build keys.
std::string host_cpu_identity();

// All but the ceilings.
DeviceInfo describe_host();

// Measures memory bandwidth and fp32 throughput of `threads` threads, about 0.2 s.
struct HostCeilings {
  double bandwidth_gbps = 0.0;  // reading what no cache holds
  double fp32_tflops = 0.0;     // fused multiply-adds, two operations each
};
HostCeilings measure_host_ceilings(int threads);

// describe_host with ceilings, measured once a machine and kept in `cache_folder`.
DeviceInfo host_device(const std::filesystem::path& cache_folder);

}  // namespace fib
