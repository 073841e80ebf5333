#pragma once

// A card made of host memory: copies copy, allocations allocate, launches are noted and not run.
// Launches and fills take a millisecond each of the card's own clock. Enough of a driver to test
// what happens around the kernels where there is no card.

#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "runners/launch/cuda_driver.h"

namespace fib {

class FakeCard {
 public:
  static constexpr size_t kMemoryBytes = size_t{1} << 30;

  struct Launch {
    std::string symbol;
    unsigned grid = 0;
    unsigned shared_bytes = 0;
    bool is_captured = false;
  };

  FakeCard() { current() = this; }
  FakeCard(const FakeCard&) = delete;
  FakeCard& operator=(const FakeCard&) = delete;
  ~FakeCard() {
    for (const auto& [address, bytes] : memory_) std::free(reinterpret_cast<void*>(address));
    current() = nullptr;
  }

  CudaDriverPtr driver() const;

  std::vector<Launch> launches;
  int graph_launches = 0;
  int downloads = 0;
  int events = 0;                   // that exist
  size_t allocated_bytes = 0;
  std::thread::id thread;           // that the context is current in
  CUresult failure = CUDA_SUCCESS;  // what everything from now on returns
  // A kernel never ends. Calls that a driver lets wait for it return, but are counted.
  bool is_hung = false;
  int waits = 0;

 private:
  struct Function {
    std::string symbol;
    int shared_limit = 48 << 10;
  };
  static FakeCard*& current() {
    static FakeCard* card = nullptr;
    return card;
  }
  // What a call on the context gives.
  static CUresult status() {
    FakeCard& card = *current();
    if (card.thread != std::this_thread::get_id()) return CUDA_ERROR_INVALID_CONTEXT;
    return card.failure;
  }

  // The same of one that a driver lets wait for what runs.
  static CUresult waiting() {
    if (current()->is_hung) ++current()->waits;
    return status();
  }

  struct Event {
    double at_ms = -1.0;
  };
  using Graph = std::vector<Event*>;  // null: something that takes a millisecond

  // On the queue: now, or in the graph that is captured.
  void take_a_millisecond() {
    if (is_capturing_) {
      captured_.push_back(nullptr);
    } else {
      ++now_ms_;
    }
  }
  void play(const Graph& graph) {
    for (Event* event : graph) {
      if (event == nullptr) {
        ++now_ms_;
      } else {
        event->at_ms = now_ms_;
      }
    }
  }

  std::map<std::string, Function> functions_;
  std::map<CUdeviceptr, size_t> memory_;  // page-locked memory too
  bool is_capturing_ = false;
  Graph captured_;
  std::deque<Graph> graphs_;
  double now_ms_ = 0.0;
};

inline CudaDriverPtr FakeCard::driver() const {
  auto driver = std::make_shared<CudaDriver>();
  CudaDriver& d = *driver;
  d.cuGetErrorName = [](CUresult result, const char** name) -> CUresult {
    *name = result == CUDA_ERROR_ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS" : "CUDA_ERROR";
    return CUDA_SUCCESS;
  };
  d.cuGetErrorString = [](CUresult, const char** text) -> CUresult {
    *text = "as the test wants it";
    return CUDA_SUCCESS;
  };
  d.cuDeviceGet = [](CUdevice* device, int index) -> CUresult {
    *device = index;
    return CUDA_SUCCESS;
  };
  d.cuDeviceGetAttribute = [](int* value, CUdevice_attribute which, CUdevice) -> CUresult {
    const std::map<CUdevice_attribute, int> attributes = {
        {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 9},
        {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 132},
        {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, 2048},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 227 << 10},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 228 << 10},
        {CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32},
        {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 50 << 20}};
    const auto found = attributes.find(which);
    *value = found == attributes.end() ? 0 : found->second;
    return CUDA_SUCCESS;
  };
  d.cuDeviceGetName = [](char* name, int size, CUdevice) -> CUresult {
    std::strncpy(name, "Fake Card", static_cast<size_t>(size));
    return CUDA_SUCCESS;
  };
  d.cuDeviceGetPCIBusId = [](char* name, int size, CUdevice) -> CUresult {
    std::strncpy(name, "0000:00:00.0", static_cast<size_t>(size));
    return CUDA_SUCCESS;
  };
  d.cuDeviceTotalMem = [](size_t* bytes, CUdevice) -> CUresult {
    *bytes = kMemoryBytes;
    return CUDA_SUCCESS;
  };
  d.cuDevicePrimaryCtxRetain = [](CUcontext* context, CUdevice) -> CUresult {
    *context = reinterpret_cast<CUcontext>(current());
    return CUDA_SUCCESS;
  };
  d.cuDevicePrimaryCtxRelease = [](CUdevice) -> CUresult {
    static_cast<void>(waiting());
    return CUDA_SUCCESS;
  };
  d.cuCtxSetCurrent = [](CUcontext) -> CUresult {
    current()->thread = std::this_thread::get_id();
    return CUDA_SUCCESS;
  };
  d.cuStreamCreate = [](CUstream* stream, unsigned) -> CUresult {
    *stream = reinterpret_cast<CUstream>(current());
    return status();
  };
  d.cuStreamDestroy = [](CUstream) -> CUresult { return waiting(); };
  d.cuStreamSynchronize = [](CUstream) -> CUresult { return waiting(); };
  d.cuStreamQuery = [](CUstream) -> CUresult {
    return current()->is_hung ? CUDA_ERROR_NOT_READY : status();
  };

  d.cuModuleLoadData = [](CUmodule* module, const void*) -> CUresult {
    *module = reinterpret_cast<CUmodule>(current());
    return status();
  };
  d.cuModuleUnload = [](CUmodule) -> CUresult { return waiting(); };
  d.cuModuleGetFunction = [](CUfunction* function, CUmodule, const char* symbol) -> CUresult {
    Function& known = current()->functions_[symbol];
    known.symbol = symbol;
    *function = reinterpret_cast<CUfunction>(&known);
    return status();
  };
  d.cuFuncGetAttribute = [](int* value, CUfunction_attribute, CUfunction function) -> CUresult {
    *value = reinterpret_cast<Function*>(function)->shared_limit;
    return status();
  };
  d.cuFuncSetAttribute = [](CUfunction function, CUfunction_attribute which,
                            int value) -> CUresult {
    if (which == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) {
      reinterpret_cast<Function*>(function)->shared_limit = value;
    }
    return status();
  };
  d.cuLaunchKernelEx = [](const CUlaunchConfig* config, CUfunction handle, void**,
                          void**) -> CUresult {
    const auto& function = *reinterpret_cast<const Function*>(handle);
    if (config->sharedMemBytes > static_cast<unsigned>(function.shared_limit)) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    current()->launches.push_back({.symbol = function.symbol,
                                   .grid = config->gridDimX,
                                   .shared_bytes = config->sharedMemBytes,
                                   .is_captured = current()->is_capturing_});
    current()->take_a_millisecond();
    return status();
  };
  d.cuTensorMapEncodeTiled =
      [](CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*, const cuuint64_t*,
         const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle,
         CUtensorMapL2promotion, CUtensorMapFloatOOBfill) -> CUresult { return status(); };

  d.cuMemAlloc = [](CUdeviceptr* data, size_t bytes) -> CUresult {
    if (current()->is_capturing_) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (current()->allocated_bytes + bytes > kMemoryBytes) return CUDA_ERROR_OUT_OF_MEMORY;
    const size_t size = (bytes + 255) / 256 * 256;
    void* const memory = std::aligned_alloc(256, size);
    std::memset(memory, 0, size);  // which is what it has where a kernel should have written
    *data = reinterpret_cast<CUdeviceptr>(memory);
    current()->memory_[*data] = bytes;
    current()->allocated_bytes += bytes;
    return status();
  };
  d.cuMemFree = [](CUdeviceptr data) -> CUresult {
    current()->allocated_bytes -= current()->memory_.at(data);
    current()->memory_.erase(data);
    std::free(reinterpret_cast<void*>(data));
    return waiting();
  };
  d.cuMemGetInfo = [](size_t* free, size_t* total) -> CUresult {
    *free = kMemoryBytes - current()->allocated_bytes;
    *total = kMemoryBytes;
    return status();
  };
  d.cuMemHostAlloc = [](void** data, size_t bytes, unsigned) -> CUresult {
    *data = std::malloc(bytes);
    current()->memory_[reinterpret_cast<CUdeviceptr>(*data)] = bytes;
    return status();
  };
  d.cuMemFreeHost = [](void* data) -> CUresult {
    current()->memory_.erase(reinterpret_cast<CUdeviceptr>(data));
    std::free(data);
    return waiting();
  };
  d.cuMemcpyHtoDAsync = [](CUdeviceptr to, const void* from, size_t bytes, CUstream) -> CUresult {
    std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    return status();
  };
  d.cuMemcpyDtoHAsync = [](void* to, CUdeviceptr from, size_t bytes, CUstream) -> CUresult {
    ++current()->downloads;
    std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
    return status();
  };
  d.cuMemcpyDtoDAsync = [](CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream) -> CUresult {
    std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
    return status();
  };
  d.cuMemsetD8Async = [](CUdeviceptr to, unsigned char value, size_t bytes, CUstream) -> CUresult {
    std::memset(reinterpret_cast<void*>(to), value, bytes);
    current()->take_a_millisecond();
    return status();
  };

  d.cuStreamBeginCapture = [](CUstream, CUstreamCaptureMode) -> CUresult {
    current()->is_capturing_ = true;
    return status();
  };
  d.cuStreamEndCapture = [](CUstream, CUgraph* graph) -> CUresult {
    FakeCard& card = *current();
    card.is_capturing_ = false;
    card.graphs_.push_back(std::move(card.captured_));
    card.captured_.clear();
    *graph = reinterpret_cast<CUgraph>(&card.graphs_.back());
    return status();
  };
  d.cuGraphInstantiate = [](CUgraphExec* executable, CUgraph graph,
                            unsigned long long) -> CUresult {
    *executable = reinterpret_cast<CUgraphExec>(graph);
    return status();
  };
  d.cuGraphLaunch = [](CUgraphExec executable, CUstream) -> CUresult {
    ++current()->graph_launches;
    current()->play(*reinterpret_cast<const Graph*>(executable));
    return status();
  };
  d.cuGraphExecDestroy = [](CUgraphExec) -> CUresult { return waiting(); };
  d.cuGraphDestroy = [](CUgraph) -> CUresult { return status(); };

  d.cuEventCreate = [](CUevent* event, unsigned) -> CUresult {
    *event = reinterpret_cast<CUevent>(new Event);
    ++current()->events;
    return status();
  };
  d.cuEventDestroy = [](CUevent event) -> CUresult {
    delete reinterpret_cast<Event*>(event);
    --current()->events;
    return status();
  };
  // Each kind of record where the driver takes it as a point in time.
  d.cuEventRecord = [](CUevent event, CUstream) -> CUresult {
    if (current()->is_capturing_) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    reinterpret_cast<Event*>(event)->at_ms = current()->now_ms_;
    return status();
  };
  d.cuEventRecordWithFlags = [](CUevent event, CUstream, unsigned flags) -> CUresult {
    if (!current()->is_capturing_ || flags != CU_EVENT_RECORD_EXTERNAL) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    current()->captured_.push_back(reinterpret_cast<Event*>(event));
    return status();
  };
  d.cuEventElapsedTime = [](float* elapsed_ms, CUevent from, CUevent to) -> CUresult {
    const double begin = reinterpret_cast<const Event*>(from)->at_ms;
    const double end = reinterpret_cast<const Event*>(to)->at_ms;
    if (begin < 0.0 || end < 0.0) return CUDA_ERROR_INVALID_HANDLE;  // never passed
    *elapsed_ms = static_cast<float>(end - begin);
    return status();
  };
  return driver;
}

}  // namespace fib
