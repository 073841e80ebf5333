#pragma once

// A package seen by tvm-ffi: `tvm_ffi.load_module("libfib_kernels.so")` in Python, or TVM's own
// compiled code. For each row of the package's table the generated source exports
//
//   __tvm_ffi_<name>(input..., output..., [prepared])
//   __tvm_ffi_<name>_prepare(input..., block) -> int
//
// and forwards both here, with the arguments as tvm-ffi passes them: `args` are num_args TVMFFIAny,
// `result` is one that holds None. Arguments stand in the signature's order; a host scalar is an
// int, a float or a bool, every other one a tensor: of torch, numpy or whatever speaks DLPack, used
// where it lies. An output that has an input's memory may be None. Returns 0, or -1 with a Python
// exception raised: TypeError for a wrong number or kind of arguments, ValueError for a tensor that
// doesn't fit the signature, MemoryError, RuntimeError for everything else.
//
// The device is that of the first tensor; it is opened when it is first seen and stays open. Calls
// go to tvm-ffi's current stream of that device, which is torch's where torch tensors are passed.
// Workspace on the CPU is a block of the calling thread's; on a card it comes from the allocator
// that tvm-ffi's environment names, torch's again: stream-ordered, so that nothing waits, and safe
// while a graph is captured. Any thread may call.

#include <cstddef>
#include <cstdint>

extern "C" {

// `prepared`: what the function below wrote, as a tensor of bytes; None, or left out: nothing.
int fib_kernels_tvm_ffi_call(size_t row, void* self, const void* args, int32_t num_args,
                             void* result);

// Returns how many bytes the weights among the inputs take laid out for this package's kernels: 0
// where no kernel wants that. `block` None: that is all. Otherwise it is a tensor of at least so
// many bytes, which is filled. Inputs that aren't weights may be None.
int fib_kernels_tvm_ffi_prepare(size_t row, void* self, const void* args, int32_t num_args,
                                void* result);

}  // extern "C"
