#include "tests/integrations/package/runtime/recording_driver.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace fib::package {
namespace {

RecordingDriver* card = nullptr;

CUresult launch(const CUlaunchConfig* config, CUfunction handle, void** arguments, void**) {
  if (card->failure != CUDA_SUCCESS) return card->failure;
  if (RecordingDriver::current() != card->context()) return CUDA_ERROR_INVALID_CONTEXT;
  const auto& function = *reinterpret_cast<const RecordingDriver::Function*>(handle);
  if (config->sharedMemBytes > static_cast<unsigned>(function.shared_limit)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (!card->is_recording) return CUDA_SUCCESS;
  RecordedLaunch recorded{.symbol = function.symbol,
                          .grid = config->gridDimX,
                          .shared_bytes = config->sharedMemBytes,
                          .attributes = config->numAttrs,
                          .stream = config->hStream};
  for (size_t i = 0; i < function.num_arguments; ++i) {
    std::memcpy(&recorded.arguments.emplace_back(), arguments[i], sizeof(uint64_t));
  }
  const std::lock_guard lock(card->mutex);
  card->launches.push_back(std::move(recorded));
  return CUDA_SUCCESS;
}

CUresult set_memory(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream) {
  if (card->failure != CUDA_SUCCESS) return card->failure;
  if (!card->is_recording) return CUDA_SUCCESS;
  const std::lock_guard lock(card->mutex);
  card->launches.push_back({.symbol = "memset", .stream = stream, .arguments = {to, value, bytes}});
  return CUDA_SUCCESS;
}

CUresult encode(CUtensorMap* map, CUtensorMapDataType, cuuint32_t, void* base, const cuuint64_t*,
                const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  if (reinterpret_cast<uintptr_t>(map) % 64 != 0) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(card->mutex);
  ++card->encoded;
  std::memcpy(map, &base, sizeof base);
  return CUDA_SUCCESS;
}

CUresult attribute(int* value, CUdevice_attribute which, CUdevice) {
  switch (which) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = card->compute_major; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = card->compute_minor; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = 227 << 10; break;
    default: *value = 0;
  }
  return CUDA_SUCCESS;
}

// Stands for the functions that nothing here should ask for.
template <class Function>
struct Foreign;
template <class... Arguments>
struct Foreign<CUresult (*)(Arguments...)> {
  static CUresult call(Arguments...) {
    ++card->foreign_calls;
    return CUDA_ERROR_NOT_SUPPORTED;
  }
};

}  // namespace

RecordingDriver::RecordingDriver() {
  card = this;
  current() = nullptr;
  for (const auto& [symbol, count] :
       {std::pair{"plain_4", 5}, {"fast_4", 6}, {"packed_4", 4}, {"lay_out_0", 2}}) {
    functions[symbol] = {.symbol = symbol, .num_arguments = static_cast<size_t>(count)};
  }
}

RecordingDriver::~RecordingDriver() { card = nullptr; }

CUcontext& RecordingDriver::current() {
  thread_local CUcontext context = nullptr;
  return context;
}

CudaDriverPtr RecordingDriver::driver() const {
  auto driver = std::make_shared<CudaDriver>();
  CudaDriver& d = *driver;
  d.cuGetErrorName = [](CUresult result, const char** text) -> CUresult {
    *text = result == CUDA_ERROR_ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS" : "CUDA_ERROR";
    return CUDA_SUCCESS;
  };
  d.cuGetErrorString = [](CUresult, const char** text) -> CUresult {
    *text = "as the test wants it";
    return CUDA_SUCCESS;
  };
  d.cuDeviceGet = [](CUdevice* device, int index) -> CUresult {
    *device = index;
    return index == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
  };
  d.cuDeviceGetAttribute = attribute;
  d.cuDeviceGetName = [](char* text, int size, CUdevice) -> CUresult {
    std::strncpy(text, card->name.c_str(), static_cast<size_t>(size));
    return CUDA_SUCCESS;
  };
  d.cuDeviceGetPCIBusId = [](char* text, int, CUdevice) -> CUresult {
    *text = '\0';
    return CUDA_SUCCESS;
  };
  d.cuDeviceTotalMem = [](size_t* bytes, CUdevice) -> CUresult {
    *bytes = size_t{1} << 30;
    return CUDA_SUCCESS;
  };
  d.cuDevicePrimaryCtxRetain = [](CUcontext* context, CUdevice) -> CUresult {
    ++card->set_up_calls;
    *context = card->context();
    ++card->contexts;
    return CUDA_SUCCESS;
  };
  d.cuDevicePrimaryCtxRelease = [](CUdevice) -> CUresult {
    ++card->set_up_calls;
    --card->contexts;
    return CUDA_SUCCESS;
  };
  d.cuCtxGetCurrent = [](CUcontext* context) -> CUresult {
    *context = RecordingDriver::current();
    return CUDA_SUCCESS;
  };
  d.cuCtxSetCurrent = [](CUcontext context) -> CUresult {
    RecordingDriver::current() = context;
    return CUDA_SUCCESS;
  };
  d.cuModuleLoadData = [](CUmodule* module, const void*) -> CUresult {
    ++card->set_up_calls;
    if (RecordingDriver::current() != card->context()) return CUDA_ERROR_INVALID_CONTEXT;
    if (card->load_failure != CUDA_SUCCESS) return card->load_failure;
    *module = reinterpret_cast<CUmodule>(card);
    ++card->modules;
    return CUDA_SUCCESS;
  };
  d.cuModuleUnload = [](CUmodule) -> CUresult {
    ++card->set_up_calls;
    if (RecordingDriver::current() == card->context()) --card->modules;
    return CUDA_SUCCESS;
  };
  d.cuModuleGetFunction = [](CUfunction* function, CUmodule, const char* symbol) -> CUresult {
    ++card->set_up_calls;
    *function = reinterpret_cast<CUfunction>(&card->functions.at(symbol));
    return CUDA_SUCCESS;
  };
  d.cuFuncGetAttribute = [](int* value, CUfunction_attribute, CUfunction function) -> CUresult {
    *value = reinterpret_cast<Function*>(function)->shared_limit;
    return CUDA_SUCCESS;
  };
  d.cuFuncSetAttribute = [](CUfunction function, CUfunction_attribute, int value) -> CUresult {
    reinterpret_cast<Function*>(function)->shared_limit = value;
    return CUDA_SUCCESS;
  };
  d.cuLaunchKernelEx = launch;
  d.cuMemsetD8Async = set_memory;
  d.cuTensorMapEncodeTiled = encode;
#define FIB_FILL(name) \
  if (d.name == nullptr) d.name = Foreign<decltype(d.name)>::call;
  FIB_CUDA_DRIVER_FUNCTIONS(FIB_FILL)
#undef FIB_FILL
  return driver;
}

}  // namespace fib::package
