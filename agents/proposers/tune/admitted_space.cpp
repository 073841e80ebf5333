#include "agents/proposers/tune/admitted_space.h"

#include <algorithm>
#include <memory>

namespace fib::agents {

namespace {

// Draws for one point of a space that isn't listed, before it is given up.
constexpr int kDrawsForOne = 200;

// The next combination of indices in counting order; false after the last.
bool advance(Point& point, const std::vector<int>& sizes) {
  for (size_t i = point.size(); i-- > 0;) {
    if (++point[i] < sizes[i]) return true;
    point[i] = 0;
  }
  return false;
}

}  // namespace

Configuration configuration_at(const DesignSpace& space, const Point& point) {
  Configuration configuration;
  for (size_t i = 0; i < point.size(); ++i) {
    configuration.push_back(space.tunables[i].values[static_cast<size_t>(point[i])]);
  }
  return configuration;
}

std::optional<Point> point_of(const DesignSpace& space, const Configuration& configuration) {
  Point point;
  for (size_t i = 0; i < configuration.size(); ++i) {
    const auto& values = space.tunables[i].values;
    const auto value = std::find(values.begin(), values.end(), configuration[i]);
    if (value == values.end()) return std::nullopt;
    point.push_back(static_cast<int>(value - values.begin()));
  }
  return point;
}

Result<AdmittedSpace> AdmittedSpace::of(const DesignSpace& space, const Signature& signature) {
  FIB_CHECK(check_constraints(space, signature));
  AdmittedSpace admitted;
  double combinations = 1;
  for (const Tunable& tunable : space.tunables) {
    admitted.sizes_.push_back(static_cast<int>(tunable.values.size()));
    combinations *= static_cast<double>(tunable.values.size());
  }
  admitted.is_listed_ = combinations <= kMostListed;
  if (!admitted.is_listed_) {
    // Copies, so that the space needs nobody to live on.
    admitted.admits_ = [space,
                        axes = std::make_shared<const Signature>(signature)](const Point& point) {
      return fib::admits(space, configuration_at(space, point), *axes).value_or(false);
    };
    return admitted;
  }
  Point point(space.tunables.size(), 0);
  do {
    if (FIB_TRY(fib::admits(space, configuration_at(space, point), signature))) {
      admitted.points_.insert(admitted.points_.end(), point);
    }
  } while (advance(point, admitted.sizes_));
  return admitted;
}

AdmittedSpace AdmittedSpace::of_points(std::vector<int> sizes, std::vector<Point> points) {
  AdmittedSpace admitted;
  admitted.sizes_ = std::move(sizes);
  admitted.is_listed_ = true;
  admitted.points_ = PointSet(points.begin(), points.end());
  return admitted;
}

bool AdmittedSpace::contains(const Point& point) const {
  return is_listed_ ? points_.contains(point) : admits_(point);
}

std::vector<Point> AdmittedSpace::untaken(const PointSet& taken, size_t most, Draws& draws) const {
  std::vector<Point> found;
  if (is_listed_) {
    std::set_difference(points_.begin(), points_.end(), taken.begin(), taken.end(),
                        std::back_inserter(found));
    if (found.size() <= most) return found;
    for (size_t i = 0; i < most; ++i) std::swap(found[i], found[i + draws.below(found.size() - i)]);
    found.resize(most);
    return found;
  }
  PointSet seen;
  Point point(sizes_.size());
  for (int misses = 0; found.size() < most && misses < kDrawsForOne;) {
    for (size_t i = 0; i < point.size(); ++i) {
      point[i] = static_cast<int>(draws.below(static_cast<size_t>(sizes_[i])));
    }
    if (!taken.contains(point) && !seen.contains(point) && admits_(point)) {
      seen.insert(point);
      found.push_back(point);
      misses = 0;
    } else {
      ++misses;
    }
  }
  return found;
}

std::vector<Point> AdmittedSpace::neighbours(const Point& point, const PointSet& taken) const {
  std::vector<Point> found;
  for (size_t i = 0; i < point.size(); ++i) {
    for (const int step : {-1, 1}) {
      Point other = point;
      other[i] += step;
      if (other[i] < 0 || other[i] >= sizes_[i]) continue;
      if (!taken.contains(other) && contains(other)) found.push_back(std::move(other));
    }
  }
  return found;
}

}  // namespace fib::agents
