#pragma once

#include <fib/device/product.h>

using Gemm = fib::Product<FIB_AXIS_N, FIB_AXIS_K>;
