#include "runners/launch/launch_plan.h"

#include <fmt/format.h>

#include <cstring>
#include <optional>

namespace fib {
namespace {

constexpr size_t kMaxNameBytes = 4096;
constexpr int32_t kMaxArguments = 1024;
constexpr const char* kPlanSource = "plan.cpp";

// What the callbacks write into. The first trouble is the one that counts; after it nothing more
// is kept, so a plan without end costs time but no memory.
class Collector {
 public:
  FibPlanSink sink() {
    return {.context = this,
            .launch = [](void* self, const FibPlanLaunch* l) { of(self).add(l); },
            .memset = [](void* self, const FibPlanMemset* m) { of(self).add(m); },
            .workspace = [](void* self, uint64_t n) { of(self).plan_.workspace_bytes = n; },
            .prepared = [](void* self, uint64_t n) { of(self).plan_.prepared_bytes = n; },
            .fail =
                [](void* self, const char* reason) {
                  of(self).refuse(reason == nullptr ? "no reason given" : reason);
                }};
  }

  Result<LaunchPlan> finish() && {
    if (trouble_) return fail(ErrorCode::kInvalidInput, *trouble_, kPlanSource);
    return std::move(plan_);
  }

 private:
  static Collector& of(void* self) { return *static_cast<Collector*>(self); }

  void refuse(std::string_view reason) {
    if (!trouble_) trouble_ = "the plan fails: " + std::string(reason.substr(0, kMaxNameBytes));
  }

  bool has_room() {
    if (!trouble_ && plan_.steps.size() >= kMaxPlanSteps) {
      refuse(fmt::format("more than {} steps", kMaxPlanSteps));
    }
    return !trouble_;
  }

  void add(const FibPlanMemset* given) {
    if (!has_room()) return;
    if (given == nullptr || given->value > 0xff) return refuse("a memset of a value over 255");
    plan_.steps.emplace_back(PlannedMemset{.target = given->target,
                                           .bytes = given->bytes,
                                           .value = static_cast<uint8_t>(given->value),
                                           .is_prepare = given->prepare != 0});
  }

  void add(const FibPlanLaunch* given) {
    if (!has_room()) return;
    if (given == nullptr || given->kernel == nullptr ||
        std::strlen(given->kernel) > kMaxNameBytes) {
      return refuse("a launch without a kernel name, or with one of over 4096 characters");
    }
    PlannedLaunch launch{.kernel = given->kernel,
                         .grid = std::to_array(given->grid),
                         .block = std::to_array(given->block),
                         .cluster = std::to_array(given->cluster),
                         .shared_bytes = given->shared_bytes,
                         .is_cooperative = given->cooperative != 0,
                         .is_programmatic = given->programmatic != 0,
                         .is_prepare = given->prepare != 0};
    const int32_t count = given->num_args;
    if (count < 0 || count > kMaxArguments || (count > 0 && given->args == nullptr)) {
      return refuse(fmt::format("kernel '{}' with {} arguments", launch.kernel, count));
    }
    size_t bytes = 0;
    for (int32_t i = 0; i < count; ++i) {
      auto argument = copy(given->args[i], &bytes);
      if (!argument || bytes > kMaxArgumentBytes) {
        return refuse(
            fmt::format("kernel '{}', argument {}: not a pointer, a tensor map or bytes, "
                        "or more than {} bytes in all",
                        launch.kernel, i, kMaxArgumentBytes));
      }
      launch.arguments.push_back(std::move(*argument));
    }
    plan_.steps.emplace_back(std::move(launch));
  }

  static std::optional<PlannedArgument> copy(const FibPlanArg& given, size_t* bytes) {
    switch (given.kind) {
      case FIB_ARG_POINTER: *bytes += sizeof(uint64_t); return PlannedArgument{given.pointer};
      case FIB_ARG_BYTES: {
        *bytes += given.size;
        if (given.bytes == nullptr || given.size == 0 || given.size > kMaxArgumentBytes) return {};
        const auto* first = static_cast<const std::byte*>(given.bytes);
        return PlannedArgument{std::vector<std::byte>(first, first + given.size)};
      }
      case FIB_ARG_TENSOR_MAP:
        if (given.tensor_map == nullptr) return {};
        *bytes += 128;  // a CUtensorMap
        return PlannedArgument{*given.tensor_map};
      default: return {};
    }
  }

  LaunchPlan plan_;
  std::optional<std::string> trouble_;
};

}  // namespace

std::string describe_step(const LaunchPlan& plan, size_t step) {
  if (const auto* launch = std::get_if<PlannedLaunch>(&plan.steps[step])) {
    return fmt::format("launch {}, kernel '{}'", step, launch->kernel);
  }
  return fmt::format("step {}, memset", step);
}

Result<LaunchPlan> collect_plan(FibPlanEntry entry, const FibPlanProblem& problem) {
  Collector collector;
  const FibPlanSink sink = collector.sink();
  entry(&problem, &sink);
  return std::move(collector).finish();
}

}  // namespace fib
