// A package of a later interface, which doesn't speak the one of this fib any more.

#include "integrations/package/include/fib_kernels.h"

extern "C" {

uint32_t fib_kernels_abi_version(void) { return (FIB_KERNELS_ABI_MAJOR + 1) << 16 | 3; }

const fib_kernels_api* fib_kernels_get_api(uint32_t) { return nullptr; }

}  // extern "C"
