#pragma once

// Element types in harness/abi/fib/cpu.h's words.

#include "harness/abi/fib/cpu.h"
#include "signatures/base/dtype.h"

namespace fib {

FibDataType data_type(DType dtype);

}  // namespace fib
