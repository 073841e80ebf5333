#include "integrations/serving/traffic/kernel_gains.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

namespace fib {
namespace {

// One solution of a signature on one side.
struct Spent {
  double time_s = 0.0;
  uint64_t calls = 0;
  double promise = 1.0;  // over the fallback
};
// A signature's solutions on one side.
using Served = std::map<std::string, Spent>;

std::map<std::string, Served> served_signatures(const std::vector<CallTime>& kernels,
                                                const PromisedSpeedups& promised) {
  std::map<std::string, Served> signatures;
  for (const CallTime& kernel : kernels) {
    if (kernel.calls == 0) continue;
    Spent& spent = signatures[kernel.signature][kernel.solution];
    spent.time_s += time_s_of(kernel);
    spent.calls += kernel.calls;
    const auto promise = promised.find({kernel.signature, kernel.solution});
    if (promise != promised.end()) spent.promise = promise->second;
  }
  return signatures;
}

double time_s_of(const Served& served) {
  double sum_s = 0.0;
  for (const auto& [solution, spent] : served) sum_s += spent.time_s;
  return sum_s;
}

bool have_same_solutions(const Served& a, const Served& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const auto& x, const auto& y) { return x.first == y.first; });
}

// A side's time on calls that the other side serves with other solutions.
struct Moved {
  double time_s = 0.0;
  double fallback_s = 0.0;  // what the fallback would take for them, by the promises
  double rate() const { return fallback_s / time_s; }
};

Moved moved_to_others(const Served& served, const Served& other) {
  Moved moved;
  for (const auto& [solution, spent] : served) {
    const auto same = other.find(solution);
    const double kept_s = same == other.end() ? 0.0 : std::min(spent.time_s, same->second.time_s);
    moved.time_s += spent.time_s - kept_s;
    moved.fallback_s += spent.promise * (spent.time_s - kept_s);
  }
  return moved;
}

// A's time over the predicted one of B.
double predicted_speedup(const Served& a, const Served& b) {
  const Moved from = moved_to_others(a, b), to = moved_to_others(b, a);
  if (from.time_s <= 0.0 || to.time_s <= 0.0) return 1.0;  // no time went anywhere
  const double time_s = time_s_of(a);
  return time_s / (time_s - from.time_s + from.time_s * from.rate() / to.rate());
}

// The solution with the most time of those that the other side doesn't have, or of all.
std::string telling_solution(const Served& served, const Served& other) {
  const auto rank = [&](const auto& one) {
    return std::tuple(!other.contains(one.first), one.second.time_s, one.second.calls);
  };
  return std::max_element(served.begin(), served.end(),
                          [&](const auto& x, const auto& y) { return rank(x) < rank(y); })
      ->first;
}

}  // namespace

double time_s_of(const CallTime& kernel) {
  if (kernel.sampled_calls == 0) return kernel.host_s;
  return kernel.device_s * static_cast<double>(kernel.calls) /
         static_cast<double>(kernel.sampled_calls);
}

std::vector<KernelGain> kernel_gains(const std::vector<CallTime>& kernels_a,
                                     const std::vector<CallTime>& kernels_b,
                                     const PromisedSpeedups& promised_a,
                                     const PromisedSpeedups& promised_b) {
  const auto a = served_signatures(kernels_a, promised_a);
  const auto b = served_signatures(kernels_b, promised_b);
  double total_s = 0.0;
  for (const auto& [name, served] : a) total_s += time_s_of(served);
  std::vector<KernelGain> gains;
  for (const auto& [name, served] : a) {
    const auto other = b.find(name);
    if (other == b.end() || have_same_solutions(served, other->second)) continue;
    gains.push_back({.signature = name,
                     .solution_a = telling_solution(served, other->second),
                     .solution_b = telling_solution(other->second, served),
                     .share = total_s > 0.0 ? time_s_of(served) / total_s : 0.0,
                     .speedup = predicted_speedup(served, other->second)});
  }
  std::sort(gains.begin(), gains.end(),
            [](const KernelGain& x, const KernelGain& y) { return x.share > y.share; });
  return gains;
}

double predict_gain(const std::vector<KernelGain>& gains) {
  double left = 1.0;  // of A's time
  for (const KernelGain& gain : gains) left -= gain.share * (1.0 - 1.0 / gain.speedup);
  return 1.0 / left;
}

}  // namespace fib
