#pragma once

// From what micro-benchmarks promise of kernels to what that makes of a whole: where B's kernels
// differ from A's, how much of A's time that is, and what would be left of it.
//
// Both sides served the same requests, and each tells what it spent in which solution. Of one
// signature, with t the time of a solution on a side and r its promised speedup over the fallback:
//
//   kept    = sum over solutions of min(t_A, t_B)   the same kernel for the same calls
//   moved_A = sum of t_A - min(t_A, t_B)            what A spends on calls that B serves otherwise
//   rate_A  = sum of r * (t_A - min) / moved_A      how much faster than the fallback A does them
//   rate_B  = sum of r * (t_B - min) / moved_B
//   predicted time of B = kept + moved_A * rate_A / rate_B
//
// Times weigh, not numbers of calls: a call with a thousand rows counts for what it takes. Only A's
// time is carried over, never B's: with one new solution the prediction is A's time on the calls
// that it took over, over its promised speedup, whether or not it kept that promise here.

#include <string>
#include <vector>

#include "integrations/package/call_times.h"
#include "integrations/package/package_evidence.h"

namespace fib {

// What the micro-benchmarks promise of a signature that B serves with other kernels than A.
struct KernelGain {
  std::string signature;
  std::string solution_a, solution_b;  // of several the one that the other side doesn't have
  double share = 0.0;                  // of A's time in kernels
  double speedup = 1.0;                // A's time over B's predicted one
};

// Time on the device where it was sampled, else the host's.
double time_s_of(const CallTime& kernel);

// One a signature that both sides called and that B serves with other solutions than A, the largest
// share first. A promise that is missing counts as 1: the fallback's.
std::vector<KernelGain> kernel_gains(const std::vector<CallTime>& kernels_a,
                                     const std::vector<CallTime>& kernels_b,
                                     const PromisedSpeedups& promised_a,
                                     const PromisedSpeedups& promised_b);

// The gain of the whole if each signature's share shrinks by its kernels' speedup.
double predict_gain(const std::vector<KernelGain>& gains);

}  // namespace fib
