#pragma once

// A driver of a card that isn't there: it notes what it is asked to launch, with the arguments that
// a kernel would get.

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runners/launch/cuda_driver.h"

namespace fib::package {

struct RecordedLaunch {
  std::string symbol;  // "memset" for one
  unsigned grid = 0, shared_bytes = 0, attributes = 0;
  CUstream stream = nullptr;
  std::vector<uint64_t> arguments;  // 8 bytes of each; of a tensor map its base. Of a memset:
                                    // target, value, bytes
};

// One at a time.
class RecordingDriver {
 public:
  RecordingDriver();
  ~RecordingDriver();
  RecordingDriver(const RecordingDriver&) = delete;
  RecordingDriver& operator=(const RecordingDriver&) = delete;

  CudaDriverPtr driver() const;

  // What the card is.
  std::string name = "Fake Card";
  int compute_major = 9, compute_minor = 0;

  bool is_recording = true;
  CUresult failure = CUDA_SUCCESS;  // of launches from now on
  CUresult load_failure = CUDA_SUCCESS;
  std::vector<RecordedLaunch> launches;
  int encoded = 0;                     // tensor maps
  int modules = 0;                     // loaded and not unloaded
  int contexts = 0;                    // retained and not released
  std::atomic<int> set_up_calls = 0;   // modules and contexts made or found
  std::atomic<int> foreign_calls = 0;  // of what packages don't need: memory, copies, waiting

  // The context that is current in this thread.
  static CUcontext& current();
  CUcontext context() { return reinterpret_cast<CUcontext>(this); }

  struct Function {
    std::string symbol;
    size_t num_arguments = 0;
    int shared_limit = 48 << 10;
  };
  std::map<std::string, Function> functions;
  std::mutex mutex;
};

}  // namespace fib::package
