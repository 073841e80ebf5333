#include "integrations/serving/http/kernel_control.h"

#include <fmt/format.h>

namespace fib {

Json kernels_json(const SwapStatus& status, std::span<const SignatureTime> times) {
  Json signatures = Json::array();
  for (const SwappedSignature& signature : status.signatures) {
    Json solutions = Json::array();
    for (const SignatureTime& time : times) {
      if (time.signature != signature.signature) continue;
      solutions.push_back({{"solution", time.solution},
                           {"calls", time.calls},
                           {"host_s", time.host_s},
                           {"sampled_calls", time.sampled_calls},
                           {"device_s", time.device_s}});
    }
    signatures.push_back({{"signature", signature.signature},
                          {"package", signature.package},
                          {"candidate", signature.candidate},
                          {"calls_compared", signature.compared},
                          {"solutions", std::move(solutions)}});
  }
  return {{"state", swap_state_name(status.state)},
          {"package", status.package},
          {"candidate", status.candidate},
          {"reason", status.reason},
          {"switched", status.switched},
          {"rolled_back", status.rolled_back},
          {"signatures", std::move(signatures)}};
}

std::string kernel_metrics(const SwapStatus& status) {
  return fmt::format(
      "# HELP fib_kernels_info The package that serves, and the state of its exchange.\n"
      "# TYPE fib_kernels_info gauge\n"
      "fib_kernels_info{{package=\"{}\",candidate=\"{}\",state=\"{}\"}} 1\n"
      "# HELP fib_kernel_swaps_total Exchanges of the serving kernels, by how they ended.\n"
      "# TYPE fib_kernel_swaps_total counter\n"
      "fib_kernel_swaps_total{{outcome=\"switched\"}} {}\n"
      "fib_kernel_swaps_total{{outcome=\"rolled_back\"}} {}\n",
      metric_label(status.package), metric_label(status.candidate), swap_state_name(status.state),
      status.switched, status.rolled_back);
}

}  // namespace fib
