#pragma once

// /fib/kernels: which solutions serve, and packages exchanged for others while they do.

#include <functional>
#include <span>
#include <string>

#include "integrations/package/swap_status.h"
#include "integrations/serving/http/metrics.h"
#include "signatures/base/json.h"
#include "signatures/base/result.h"

namespace fib {

struct KernelControl {  // of functions that any thread may call; each may be empty
  std::function<SwapStatus()> status;
  std::function<Result<void>(const std::string& package)> begin_swap;
};

Json kernels_json(const SwapStatus& status, std::span<const SignatureTime> times);
std::string kernel_metrics(const SwapStatus& status);  // in Prometheus' text format

}  // namespace fib
