#include "agents/search/race.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "harness/paired.h"
#include "leaderboard/weighting.h"

namespace fib::agents {
namespace {

double weight_of(const Leg& leg) { return std::max(leg.weight, kLeastWeight); }

// How far the logarithm of a speedup reaches to either side, with 95 %.
double half_width(const Speedup& speedup) {
  return std::max(std::log(speedup.high / speedup.low) / 2.0, std::log1p(kLeastNoiseFloor));
}

// Against the rival, in logarithms.
struct Lead {
  double least = std::numeric_limits<double>::infinity();
  double most = -std::numeric_limits<double>::infinity();
  double sum = 0.0, weight = 0.0;

  void add(const Leg& leg) {
    const double middle = std::log(leg.own->middle / leg.rival);
    least = std::min(least, middle - half_width(*leg.own));
    most = std::max(most, middle + half_width(*leg.own));
    sum += weight_of(leg) * middle;
    weight += weight_of(leg);
  }
};

}  // namespace

Speedup standing_of(std::span<const Leg> legs, double margin) {
  Lead lead;
  for (const Leg& leg : legs) {
    if (leg.own) lead.add(leg);
  }
  const double slack = std::log1p(margin);
  double total = 0.0, middle = 0.0, low = 0.0, high = 0.0, variance = 0.0;
  for (const Leg& leg : legs) {
    const double weight = weight_of(leg), rival = std::log(leg.rival);
    const double own = leg.own ? std::log(leg.own->middle) : rival + lead.sum / lead.weight;
    total += weight;
    middle += weight * own;
    low += weight * (leg.own ? own : rival + lead.least - slack);
    high += weight * (leg.own ? own : rival + lead.most + slack);
    if (leg.own) variance += std::pow(weight * half_width(*leg.own), 2);
  }
  const double spread = std::sqrt(variance);
  return {.middle = std::exp(middle / total),
          .low = std::exp((low - spread) / total),
          .high = std::exp((high + spread) / total)};
}

RaceCourse::RaceCourse(std::vector<Leg> legs, double to_beat, double margin)
    : legs_(std::move(legs)), to_beat_(to_beat), margin_(margin) {}

std::optional<size_t> RaceCourse::next() const {
  if (run_ == legs_.size() || is_beaten()) return std::nullopt;
  return run_;
}

void RaceCourse::add(const Speedup& own) {
  legs_.at(run_++).own = own;
  standing_ = standing_of(legs_, margin_);
}

bool RaceCourse::is_beaten() const {
  const bool is_known = run_ >= std::min(kLeastLegs, legs_.size());
  return is_known && run_ > 0 && standing_.high < to_beat_;
}

std::vector<size_t> race_order(const std::vector<PosedPtr>& posed, const DeviceInfo& device,
                               size_t screened) {
  std::vector<double> sizes;
  std::vector<size_t> left;
  for (size_t i = 0; i < posed.size(); ++i) {
    sizes.push_back(std::log(least_time_ns(*posed[i], device)));
    if (i != screened) left.push_back(i);
  }
  std::vector<size_t> order = {screened};
  while (!left.empty()) {
    const auto key = [&](size_t i) {
      double distance = std::numeric_limits<double>::infinity();
      for (const size_t before : order) {
        distance = std::min(distance, std::abs(sizes[i] - sizes[before]));
      }
      return std::pair(posed[i]->problem.workload.weight, distance);
    };
    const auto next = std::ranges::max_element(left, {}, key);  // the first of equals
    order.push_back(*next);
    left.erase(next);
  }
  return order;
}

}  // namespace fib::agents
