#pragma once

// The configurations that a space's constraints admit for a signature. Small spaces are listed
// whole; of larger ones points are drawn, and nobody ever walks through them.

#include <functional>
#include <set>
#include <vector>

#include "agents/proposers/tune/draws.h"
#include "signatures/design_space.h"

namespace fib::agents {

// A configuration by the indices of its values.
using Point = std::vector<int>;
using PointSet = std::set<Point>;

Configuration configuration_at(const DesignSpace& space, const Point& point);
// Nothing if a value is none of the tunable's.
std::optional<Point> point_of(const DesignSpace& space, const Configuration& configuration);

class AdmittedSpace {
 public:
  // Up to so many combinations of values, admitted or not, a space is listed.
  static constexpr double kMostListed = 16384;

  // Errors: a name that the constraints don't know, a division by zero in them.
  static Result<AdmittedSpace> of(const DesignSpace& space, const Signature& signature);
  // A space of just these points, which are distinct: one that was measured before.
  static AdmittedSpace of_points(std::vector<int> sizes, std::vector<Point> points);

  const std::vector<int>& sizes() const { return sizes_; }  // of values, by tunable
  bool is_listed() const { return is_listed_; }
  bool contains(const Point& point) const;

  // Points outside `taken`: all of them where there are at most `most` and the space is listed,
  // else `most` different ones drawn from it. Of a space that isn't listed fewer, or none, where
  // drawing doesn't find them.
  std::vector<Point> untaken(const PointSet& taken, size_t most, Draws& draws) const;
  // Those that differ from `point` in one tunable, by one step.
  std::vector<Point> neighbours(const Point& point, const PointSet& taken) const;

 private:
  std::vector<int> sizes_;
  bool is_listed_ = false;
  PointSet points_;                           // listed
  std::function<bool(const Point&)> admits_;  // not listed
};

}  // namespace fib::agents
