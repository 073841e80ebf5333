#include "signatures/design_space.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <stdexcept>

#include "signatures/base/json.h"
#include "signatures/design_space_json.h"
#include "signatures/document.h"
#include "signatures/manifest.h"

namespace fib {
namespace {

bool has_value(const Tunable& tunable, int64_t value) {
  return std::find(tunable.values.begin(), tunable.values.end(), value) != tunable.values.end();
}

bool is_tunable(const DesignSpace& space, std::string_view name) {
  return std::any_of(space.tunables.begin(), space.tunables.end(),
                     [&](const Tunable& tunable) { return tunable.name == name; });
}

void require_same_size(const DesignSpace& space, const Configuration& configuration) {
  if (configuration.size() != space.tunables.size()) {
    throw std::logic_error(fmt::format("a configuration of {} values for {} tunables",
                                       configuration.size(), space.tunables.size()));
  }
}

// The tunables and the signature's const axes.
struct SpaceScope final : ExpressionScope {
  SpaceScope(const DesignSpace& of, const Configuration& values, const Signature& by)
      : space(of), configuration(values), signature(by) {}

  std::optional<double> axis(std::string_view name) const override {
    for (size_t i = 0; i < space.tunables.size(); ++i) {
      if (space.tunables[i].name == name) return static_cast<double>(configuration[i]);
    }
    const Axis* axis = signature.find_axis(name);
    if (axis == nullptr || axis->kind != Axis::Kind::kConst) return std::nullopt;
    return static_cast<double>(axis->value);
  }
  std::optional<std::span<const int64_t>> integers(std::string_view) const override { return {}; }
  std::optional<std::vector<int64_t>> shape(std::string_view) const override { return {}; }

  const DesignSpace& space;
  const Configuration& configuration;
  const Signature& signature;
};

Result<void> check_name(const std::string& name, const Expression& constraint,
                        const DesignSpace& space, const Signature& signature) {
  const Axis* axis = signature.find_axis(name);
  const bool is_const = axis != nullptr && axis->kind == Axis::Kind::kConst;
  if (is_tunable(space, name) != is_const) return {};
  const std::string where = fmt::format("constraint '{}'", constraint.text());
  if (is_const) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("'{}' is a tunable and an axis of {}", name, signature.name), where,
                "give the tunable another name");
  }
  if (axis != nullptr) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("axis '{}' of {} differs from call to call", name, signature.name),
                where, "const axes and tunables only");
  }
  std::vector<std::string> known;
  for (const Tunable& tunable : space.tunables) known.push_back(tunable.name);
  for (const Axis& other : signature.axes) {
    if (other.kind == Axis::Kind::kConst) known.push_back(other.name);
  }
  return fail(ErrorCode::kInvalidInput,
              fmt::format("'{}' is neither a tunable nor a const axis of {}", name, signature.name),
              where, did_you_mean(name, known, fmt::format("one of {}", fmt::join(known, ", "))));
}

}  // namespace

Result<DesignSpace> design_space_of(const Solution& solution) {
  if (!solution.fib.is_object()) return DesignSpace{};
  DesignSpace space = FIB_TRY(manifest_of(solution)).space;
  FIB_CHECK(check_design_space(space, solution, JsonView(solution.fib, solution.where, "/fib")));
  return space;
}

Result<Configuration> configuration_of(const Solution& solution, const DesignSpace& space) {
  return read_configuration(space, JsonView(solution.fib, solution.where, "/fib"));
}

Result<void> check_constraints(const DesignSpace& space, const Signature& signature) {
  for (const Expression& constraint : space.constraints) {
    for (const std::string& name : constraint.names()) {
      FIB_CHECK(check_name(name, constraint, space, signature));
    }
  }
  return {};
}

Result<bool> admits(const DesignSpace& space, const Configuration& configuration,
                    const Signature& signature) {
  require_same_size(space, configuration);
  const SpaceScope scope(space, configuration, signature);
  for (const Expression& constraint : space.constraints) {
    const auto value = constraint.evaluate(scope);
    if (!value) {
      FIB_CHECK(check_constraints(space, signature));  // says more of a name that isn't known
      return fail(value.error());
    }
    if (*value == 0.0) return false;
  }
  return true;
}

Result<Solution> with_configuration(const Solution& solution, const DesignSpace& space,
                                    const Configuration& configuration) {
  require_same_size(space, configuration);
  Solution changed = solution;
  // The flags of tunables come last, in the space's order, and only where they change something: so
  // the same configuration always has the same flags, whatever the solution was set to.
  const SolutionManifest manifest = FIB_TRY(manifest_of(solution));
  Json flags = Json::array();
  for (const std::string& flag : manifest.flags) {
    if (!is_tunable(space, macro_of_flag(flag))) flags.push_back(flag);
  }
  for (size_t i = 0; i < configuration.size(); ++i) {
    const Tunable& tunable = space.tunables[i];
    if (!has_value(tunable, configuration[i])) {
      return fail(
          ErrorCode::kInvalidInput,
          fmt::format("{} is not a value of the tunable {}", configuration[i], tunable.name),
          solution.where, fmt::format("one of {}", dump_json(Json(tunable.values))));
    }
    if (configuration[i] == tunable.initial) continue;
    flags.push_back(fmt::format("-D{}={}", tunable.name, configuration[i]));
  }
  if (flags.empty()) {
    changed.fib.erase("flags");
  } else {
    changed.fib["flags"] = std::move(flags);
  }
  return changed;
}

}  // namespace fib
