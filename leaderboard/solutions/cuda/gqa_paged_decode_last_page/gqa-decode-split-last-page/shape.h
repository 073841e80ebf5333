#pragma once

// Known to kernel.cu and plan.cpp alike.

#include <fib/device/attention_decode.h>

using Decode =
    fib::DecodeAttention<FIB_AXIS_num_qo_heads, FIB_AXIS_num_kv_heads, FIB_AXIS_head_dim>;
