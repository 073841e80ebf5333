#pragma once

// Outputs of random draws (Tolerance::Rule::kDistribution). There is no expected value to compare
// with, but the reference knows how likely each draw was. Two things are asked of draws: that each
// is possible, and that together they follow the distribution. Judging them is harness/judge.h's.

#include <cstdint>
#include <span>
#include <vector>

#include "harness/compare.h"
#include "workloads/inputs.h"

namespace fib {

// Where draws fell in their distributions: the probability of everything before the draw plus a
// random share of its own. Uniform in [0, 1) if the draws follow the distribution.
struct DrawRanks {
  std::vector<double> by_value;       // lower values first: shows values preferred or left out
  std::vector<double> by_likelihood;  // likelier values first: shows draws too bold or too timid
};

// One output of one call.
struct DrawCheck {
  ErrorStats stats;  // the count, and impossible draws as elements over the bound
  int64_t first_bad_value = 0;
  DrawRanks ranks;  // of possible draws that had an alternative
};

struct DrawRequest {
  const Problem& problem;
  const InputSet& inputs;
  size_t output = 0;
  std::span<const std::byte> values;  // the candidate's, of the output's dtype and shape
  uint64_t seed = 0;                  // secret: the random shares derive from it
  int threads = 1;
};
Result<DrawCheck> check_draws(const DrawRequest& request);

// Everything that a contender drew in one output.
struct DrawRecord {
  int64_t first_bad_index = -1;  // -1: all draws were possible
  int64_t first_bad_value = 0;
  // The first output of each value set, then the second that differed from it, and so on: what a
  // contender draws anew in each call must not count as many times as it is called.
  std::vector<DrawRanks> versions;

  void add(const DrawCheck& check, size_t version);
  int64_t num_draws() const;
  // The probability that honest draws deviate so much in at least one order of one version.
  double p_value() const;
};

// Of the Kolmogorov-Smirnov test that `values` are uniform in [0, 1); 1 of none.
double uniform_p_value(std::vector<double> values);

}  // namespace fib
