#pragma once

// Known to kernel.cu and plan.cpp alike.

#include <fib/device/attention_prefill.h>

using Prefill =
    fib::PrefillAttention<FIB_AXIS_num_qo_heads, FIB_AXIS_num_kv_heads, FIB_AXIS_head_dim>;
