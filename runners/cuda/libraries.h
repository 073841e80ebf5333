#pragma once

// Where CUDA's run-time libraries are on this machine, and what works of them.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "signatures/base/result.h"

namespace fib {

// What the caller knows; everything may be empty. Libraries read no environment: the CLI passes
// CUDA_HOME and the like in.
struct CudaSearch {
  std::vector<std::filesystem::path> roots;  // first choice: toolkit folders, CUDA_HOME
  std::filesystem::path cache_folder;        // `scripts/quickstart --cuda` puts <this>/cuda/lib there
  std::vector<std::filesystem::path> python_prefixes;  // virtual environments with nvidia wheels
};

// Folders that may hold a CUDA library, best first, only ones that exist.
std::vector<std::filesystem::path> cuda_library_folders(const CudaSearch& search);

enum class CudaLibrary { kNvrtc, kCupti, kNvml };
std::string_view cuda_library_name(CudaLibrary library);  // "nvrtc", "cupti", "nvml"

// Path of the library of the newest major version that we know; a bare file name if only the
// loader's own path has it. Errors name every folder that was searched and say what to install.
Result<std::filesystem::path> find_cuda_library(const CudaSearch& search, CudaLibrary library);

// Folder with cuda_fp16.h, cuda_bf16.h and mma.h for kernels that include them, if there is one.
std::optional<std::filesystem::path> find_cuda_headers(const CudaSearch& search);

// For `fib doctor`: each line is a fact or a reason with its remedy.
struct CudaFinding {
  std::string name;      // "driver", "nvrtc", "cupti", "nvml", "headers"
  bool ok = false;
  std::string path;
  std::string version;   // "580.159.04 (CUDA 13.0)"
  std::string reason;    // why not
  std::string remedy;
};
struct CudaDeviceStatus {
  int index = 0;
  std::string name;
  std::string architecture;          // "sm_90a"
  uint64_t memory_bytes = 0;
  uint32_t sm_clock_mhz = 0, max_sm_clock_mhz = 0, memory_clock_mhz = 0;
  uint32_t temperature_c = 0;
  double power_w = 0.0;
  uint32_t throttle_reasons = 0;     // NVML bits
  std::string throttle_text;         // "none", "sw power cap, idle"
};
struct CudaStatus {
  std::vector<CudaFinding> findings;
  std::vector<CudaDeviceStatus> devices;
};

// NVML's clocksEventReasons bits in words.
std::string describe_throttle_reasons(uint64_t reasons);

}  // namespace fib
