#pragma once

// Kernels of cuda solutions compiled for cards that needn't be here.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "integrations/package/export/build_package.h"
#include "integrations/package/export/solution_objects.h"

namespace fib {

struct DeviceCode {
  std::string architecture;
  std::string cubin;                                         // an ELF file's content
  std::vector<std::pair<std::string, std::string>> kernels;  // name expression -> symbol in it
};

class DeviceCompiler {
 public:
  virtual ~DeviceCompiler() = default;
  // Thread-safe.
  virtual Result<Compiled<DeviceCode>> compile(const Solution& solution, const Signature& signature,
                                               const std::string& architecture) = 0;
  virtual std::string version() const = 0;  // NVRTC's
};

// kEnvironment where NVRTC is missing, kUnsupported where fib was built without CUDA's headers.
Result<std::unique_ptr<DeviceCompiler>> open_device_compiler(const PackageBuildOptions& options);

}  // namespace fib
