#include "integrations/package/export/check_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <stdexcept>

#include "integrations/package/export/cpu_levels.h"
#include "signatures/solution_folder.h"

namespace fib {
namespace {

constexpr const char* kBug = "this is a bug of whatever made the list of winners";

// Its name, with the parameters: what tells it from the others.
std::string identity_of(const Signature& signature) {
  std::string identity = signature.name;
  for (const auto& [name, value] : signature.fib.parameters) {
    identity += fmt::format(" {}={}", name, value);
  }
  return identity;
}

bool is_architecture(std::string_view name) {  // "sm_90", "sm_90a"
  if (!name.starts_with("sm_")) return false;
  name.remove_prefix(3);
  if (name.ends_with('a')) name.remove_suffix(1);
  return name.size() >= 2 &&
         std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool is_plain(std::string_view text) {
  return !text.empty() && text.front() != '.' && text.front() != '-' &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-' || c == '+';
         });
}

Result<void> check_solution(const Solution& solution) {
  const SolutionManifest manifest = FIB_TRY(manifest_of(solution));
  const std::string where = fmt::format("solution '{}'", solution.name);
  if (!manifest.license.empty()) return {};
  return fail(ErrorCode::kInvalidInput, "it doesn't say under which licence it may be passed on",
              where,
              "ask its author, and add \"license\" to its solution.json: an SPDX identifier such "
              "as Apache-2.0");
}

AxisInterval range_of(const BucketChoice& bucket, const std::string& axis) {
  for (const AxisInterval& interval : bucket.where) {
    if (interval.axis == axis) return interval;
  }
  return {.axis = axis};
}

bool overlap(const BucketChoice& a, const BucketChoice& b, const Signature& signature) {
  return std::all_of(signature.axes.begin(), signature.axes.end(), [&](const Axis& axis) {
    const AxisInterval x = range_of(a, axis.name), y = range_of(b, axis.name);
    return x.low <= y.high && y.low <= x.high;
  });
}

Result<void> check_ranges(const BucketChoice& bucket, const Signature& signature,
                          const std::string& where) {
  std::set<std::string> named;
  for (const AxisInterval& interval : bucket.where) {
    const Axis* axis = signature.find_axis(interval.axis);
    if (axis == nullptr || axis->kind != Axis::Kind::kVar) {
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("'{}' is no axis that varies", interval.axis), where, kBug);
    }
    if (interval.low < 0 || interval.low > interval.high || !named.insert(interval.axis).second) {
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("{} {}..{} is no range, or not the only one", interval.axis,
                              interval.low, interval.high),
                  where, kBug);
    }
  }
  return {};
}

class SignatureCheck {
 public:
  SignatureCheck(const PackagedSignature& packaged, const PackageSpec& spec)
      : packaged_(packaged), spec_(spec), where_(packaged.signature->name) {}

  Result<void> run() const {
    if (packaged_.own_parameters.size() != packaged_.signature->fib.parameters.size()) {
      return error("its own parameters aren't as many as its parameters");
    }
    for (const Solution& solution : packaged_.solutions) {
      FIB_CHECK(check_solution(solution));
      if (!solution_fits(solution, *packaged_.signature)) {
        return error(fmt::format("'{}' was written for {}", solution.name, solution.definition));
      }
    }
    FIB_CHECK(check_indices(packaged_.cuda_fallback, "cuda"));
    FIB_CHECK(check_indices(packaged_.cpu_fallback, "cpu"));
    for (const HardwareChoices& choices : packaged_.hardware) FIB_CHECK(check(choices));
    if (is_served("cuda") || is_served("cpu")) return {};
    return fail(ErrorCode::kInvalidInput, "no solution would serve it in this package", where_,
                "ask for architectures or processor levels that it has solutions for");
  }

 private:
  Failure error(std::string message) const {
    return fail(ErrorCode::kInvalidInput, std::move(message), where_, kBug);
  }

  const std::vector<size_t>& fallback(std::string_view target) const {
    return target == "cuda" ? packaged_.cuda_fallback : packaged_.cpu_fallback;
  }
  bool is_served(std::string_view target) const {
    const auto& wanted = target == "cuda" ? spec_.cuda_architectures : spec_.cpu_levels;
    return !wanted.empty() && !fallback(target).empty();
  }

  Result<void> check_indices(const std::vector<size_t>& indices, const std::string& target) const {
    for (const size_t index : indices) {
      if (index >= packaged_.solutions.size()) {
        return error(fmt::format("there is no solution {}", index));
      }
      if (solution_target(packaged_.solutions[index]) != target) {
        return error(
            fmt::format("'{}' is no solution for {}", packaged_.solutions[index].name, target));
      }
    }
    return {};
  }

  Result<void> check(const HardwareChoices& choices) const {
    if (choices.target != "cuda" && choices.target != "cpu") {
      return error(fmt::format("there is no target '{}'", choices.target));
    }
    const std::string where = fmt::format("{} on {}", where_, choices.hardware);
    for (size_t i = 0; i < choices.buckets.size(); ++i) {
      const BucketChoice& bucket = choices.buckets[i];
      FIB_CHECK(check_indices({bucket.solution}, choices.target));
      FIB_CHECK(check_ranges(bucket, *packaged_.signature, where));
      for (size_t j = 0; j < i; ++j) {
        if (!overlap(bucket, choices.buckets[j], *packaged_.signature)) continue;
        return fail(ErrorCode::kInvalidInput,
                    fmt::format("buckets {} and {} overlap", j + 1, i + 1), where, kBug);
      }
    }
    if (choices.buckets.empty() || !fallback(choices.target).empty()) return {};
    return fail(
        ErrorCode::kInvalidInput,
        fmt::format("has winners for {} but no solution that takes any shape", choices.target),
        where, "add a fallback: a solution that refuses no shape");
  }

  const PackagedSignature& packaged_;
  const PackageSpec& spec_;
  const std::string& where_;
};

}  // namespace

std::string solution_target(const Solution& solution) {
  auto manifest = manifest_of(solution);
  if (!manifest) throw std::logic_error("a solution that was not checked");
  return manifest->target;
}

std::string solution_license(const Solution& solution) {
  auto manifest = manifest_of(solution);
  if (!manifest) throw std::logic_error("a solution that was not checked");
  return manifest->license;
}

Result<void> check_package_spec(const PackageSpec& spec) {
  if (!is_plain(spec.name) || (!spec.version.empty() && !is_plain(spec.version))) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("'{}' version '{}' can't name a package", spec.name, spec.version),
                "package", "use letters, digits, '.', '_', '-' and '+'");
  }
  if (spec.cuda_architectures.empty() && spec.cpu_levels.empty()) {
    return fail(ErrorCode::kInvalidInput, "neither for a card nor for a processor", "package",
                "name architectures (sm_90a) or processor levels (native, x86-64-v3)");
  }
  if (spec.signatures.empty()) {
    return fail(ErrorCode::kInvalidInput, "without a signature", "package", "name one at least");
  }
  for (const std::string& architecture : spec.cuda_architectures) {
    if (is_architecture(architecture)) continue;
    return fail(ErrorCode::kInvalidInput, fmt::format("'{}' is no architecture", architecture),
                "cuda_architectures", "write it as sm_90a");
  }
  for (const std::string& level : spec.cpu_levels) FIB_CHECK(cpu_level_flags(level));
  std::set<std::string> known;
  for (const PackagedSignature& packaged : spec.signatures) {
    if (!known.insert(identity_of(*packaged.signature)).second) {
      return fail(ErrorCode::kConflict, "stands in the list twice", packaged.signature->name, kBug);
    }
    FIB_CHECK(SignatureCheck(packaged, spec).run());
  }
  return {};
}

}  // namespace fib
