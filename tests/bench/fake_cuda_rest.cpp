// The functions of the driver that fake_cuda.cpp doesn't define: they return CUDA_SUCCESS and look
// at nothing.

#include "runners/launch/cuda_driver.h"

extern "C" [[gnu::used]] CUresult fib_fake_cuda_nothing() { return CUDA_SUCCESS; }

#define FIB_TEXT(name) #name
#define FIB_SYMBOL(name) FIB_TEXT(name)  // cuda.h's macros have put the version suffix on `name`
#define FIB_WEAK(name) \
  asm(".weak " FIB_SYMBOL(name) "\n.set " FIB_SYMBOL(name) ", fib_fake_cuda_nothing");
FIB_CUDA_DRIVER_FUNCTIONS(FIB_WEAK)
