#pragma once

// Two sets of kernels under the same traffic: which serves better, by how much, and whether the
// answers are the same. Blocks come in pairs, each pair the same requests on both sides, one right
// after the other: what drifts over minutes cancels out.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "integrations/package/call_times.h"
#include "integrations/serving/engine/request.h"
#include "integrations/serving/traffic/kernel_gains.h"
#include "integrations/serving/traffic/replay_report.h"

namespace fib {

struct AbSide {
  ReplayReport report;
  double busy_s = 0.0;                        // the engine's time inside steps
  std::vector<std::vector<TokenId>> answers;  // by request; empty where it failed
};

struct AbPair {
  AbSide a, b;
};

// How many times as good B is as A: the geometric mean over the pairs, with the 95 % interval of
// Student's t over the logarithms of the pairs' ratios.
struct AbRatio {
  double ratio = 1.0, low = 1.0, high = 1.0;
  size_t pairs = 0;  // fewer than 2 give no interval: low 0, high infinite
};
// `ratios`: positive, one a pair.
AbRatio combine_ratios(const std::vector<double>& ratios);

// Greedy answers of the same requests. Kernels that round differently part where two tokens are
// nearly as likely, so an answer that differs late says little, many that differ early much.
struct OutputParity {
  size_t requests = 0, equal = 0;
  uint64_t tokens = 0, tokens_before_parting = 0;  // of A's answers
};

enum class AbConclusion {
  kBetter,  // B's busy time is less, the whole interval
  kWorse,
  kNoDifference  // the interval holds 1
};
std::string_view ab_conclusion_name(AbConclusion conclusion);  // "better", ...

struct AbReport {
  std::string name_a, name_b;
  AbRatio busy;  // engine time a generated token: doesn't depend on the load
  AbRatio tokens_per_s, ttft, tbt, end_to_end;  // as clients see it
  OutputParity parity;
  size_t failed_a = 0, failed_b = 0;  // requests
  std::vector<KernelGain> gains;      // the largest share first
  std::optional<double> predicted;    // by predict_gain; nullopt: both sides call the same kernels
  std::vector<CallTime> kernels_a, kernels_b;

  AbConclusion conclusion() const;
  // The packages' evidence promises a gain and the whole is worse, or it promises at least 1 % and
  // the whole isn't better for it.
  bool breaks_promise() const;
};

// Ratios and parity of at least one pair; pairs with a failed side count for `failed` alone.
AbReport compare_pairs(const std::vector<AbPair>& pairs);

Json ab_to_json(const AbReport& report);
std::string ab_to_text(const AbReport& report);

}  // namespace fib
