#pragma once

// The CUDA driver, opened at run time: one binary runs with and without a GPU. Functions keep
// their names from cuda.h (whose macros pick the versioned symbols), so a call reads
// `driver.cuMemAlloc(&pointer, bytes)`.

#include <cuda.h>

#include <memory>
#include <string>

#include "signatures/base/result.h"

namespace fib {

#define FIB_CUDA_DRIVER_FUNCTIONS(X)                                                            \
  X(cuInit) X(cuDriverGetVersion) X(cuGetErrorName) X(cuGetErrorString)                         \
  X(cuDeviceGet) X(cuDeviceGetCount) X(cuDeviceGetName) X(cuDeviceGetAttribute)                 \
  X(cuDeviceTotalMem) X(cuDeviceGetPCIBusId)                                                    \
  X(cuDevicePrimaryCtxRetain) X(cuDevicePrimaryCtxRelease)                                      \
  X(cuCtxGetCurrent) X(cuCtxSetCurrent) X(cuCtxSynchronize)                                     \
  X(cuModuleLoadData) X(cuModuleUnload) X(cuModuleGetFunction)                                  \
  X(cuFuncSetAttribute) X(cuFuncGetAttribute) X(cuLaunchKernelEx)                               \
  X(cuMemAlloc) X(cuMemFree) X(cuMemGetInfo) X(cuMemHostRegister) X(cuMemHostUnregister)        \
  X(cuMemHostAlloc) X(cuMemFreeHost) X(cuMemHostGetDevicePointer)                               \
  X(cuMemcpyHtoDAsync) X(cuMemcpyDtoHAsync) X(cuMemcpyDtoDAsync) X(cuMemsetD8Async)             \
  X(cuStreamCreate) X(cuStreamDestroy) X(cuStreamQuery) X(cuStreamSynchronize)                  \
  X(cuStreamWriteValue32) X(cuStreamBeginCapture) X(cuStreamEndCapture)                         \
  X(cuGraphInstantiate) X(cuGraphLaunch) X(cuGraphExecDestroy) X(cuGraphDestroy)                \
  X(cuEventCreate) X(cuEventDestroy) X(cuEventRecord) X(cuEventRecordWithFlags)                 \
  X(cuEventElapsedTime)                                                                         \
  X(cuTensorMapEncodeTiled)

class CudaDriver {
 public:
  // Opens libcuda.so.1 and calls cuInit. Errors (kEnvironment): no driver, a driver that lacks a
  // function, no device; each with its remedy. Never in a process that will fork workers.
  static Result<std::shared_ptr<const CudaDriver>> open();

#define FIB_DECLARE(name) decltype(&::name) name = nullptr;
  FIB_CUDA_DRIVER_FUNCTIONS(FIB_DECLARE)
#undef FIB_DECLARE

  // From now on every function refuses with CUDA_ERROR_LAUNCH_TIMEOUT instead of waiting for a card
  // that hangs; those that put errors into words go on doing so.
  void refuse_all();

  // "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered"
  std::string describe(CUresult result) const;
  // kEnvironment with `what` in front; success is an empty Result.
  Result<void> check(CUresult result, std::string_view what) const;
};
using CudaDriverPtr = std::shared_ptr<const CudaDriver>;

}  // namespace fib
