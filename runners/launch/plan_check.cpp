// check_plan: what the launcher would refuse, or worse, accept.

#include <fmt/format.h>

#include <algorithm>

#include "runners/launch/launch_plan.h"

namespace fib {
namespace {

using Dimensions = std::array<uint32_t, 3>;

// CUDA's limits for every device that fib serves (compute capability 7.0 and up).
constexpr Dimensions kMaxGrid = {0x7fffffff, 65535, 65535};
constexpr Dimensions kMaxBlock = {1024, 1024, 64};
constexpr uint64_t kMaxThreads = 1024;
constexpr uint64_t kMaxCluster = 8;  // what every device with clusters can do
constexpr int32_t kFirstWithClusters = 9;
constexpr size_t kPointerBytes = 8, kTensorMapBytes = 128;

// Bits of an element, by CUtensorMapDataType.
constexpr std::array<uint64_t, 14> kTensorMapBits = {8,  16, 32, 32, 64, 64, 16,
                                                     32, 64, 16, 32, 32, 32, 4};

constexpr std::array kSpaceNames = {"input", "output", "workspace", "prepared memory"};

std::string text(const Dimensions& d) { return fmt::format("{}x{}x{}", d[0], d[1], d[2]); }
uint64_t product(const Dimensions& d) { return uint64_t{d[0]} * d[1] * d[2]; }

class Checker {
 public:
  Checker(const LaunchPlan& plan, const PlanLimits& limits) : plan_(plan), limits_(limits) {}

  Result<void> check() {
    FIB_CHECK(within("workspace", plan_.workspace_bytes, limits_.max_workspace_bytes));
    FIB_CHECK(within("prepared memory", plan_.prepared_bytes, limits_.max_prepared_bytes));
    if (plan_.steps.size() > kMaxPlanSteps) {
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("{} steps, at most {}", plan_.steps.size(), kMaxPlanSteps));
    }
    for (step_ = 0; step_ < plan_.steps.size(); ++step_) {
      FIB_CHECK(std::visit([this](const auto& step) { return check(step); }, plan_.steps[step_]));
    }
    return {};
  }

 private:
  Failure refuse(const std::string& what) const {
    return fail(ErrorCode::kInvalidInput, what, describe_step(plan_, step_));
  }

  static Result<void> within(const char* what, uint64_t bytes, uint64_t most) {
    if (bytes <= most) return {};
    return fail(ErrorCode::kInvalidInput, fmt::format("{} bytes, at most {}", bytes, most), what);
  }

  Result<void> check(const PlannedLaunch& launch) const {
    if (std::find(limits_.kernels.begin(), limits_.kernels.end(), launch.kernel) ==
        limits_.kernels.end()) {
      return refuse(fmt::format("no such kernel among: {}", fmt::join(limits_.kernels, ", ")));
    }
    FIB_CHECK(check_dimensions("grid", launch.grid, kMaxGrid));
    FIB_CHECK(check_dimensions("block", launch.block, kMaxBlock));
    if (product(launch.block) > kMaxThreads) {
      return refuse(fmt::format("block of {} threads ({}), at most {}", product(launch.block),
                                text(launch.block), kMaxThreads));
    }
    FIB_CHECK(check_cluster(launch));
    FIB_CHECK(check_residency(launch));
    const auto most_shared =
        static_cast<uint64_t>(std::max(0, limits_.device.max_shared_bytes_per_block));
    if (launch.shared_bytes > most_shared) {
      return refuse(fmt::format("{} bytes of dynamic shared memory, at most {}",
                                launch.shared_bytes, most_shared));
    }
    return check_arguments(launch);
  }

  Result<void> check_dimensions(const char* what, const Dimensions& given,
                                const Dimensions& most) const {
    for (int i = 0; i < 3; ++i) {
      if (given[i] >= 1 && given[i] <= most[i]) continue;
      return refuse(
          fmt::format("{} of {}: each dimension from 1 to {}", what, text(given), text(most)));
    }
    return {};
  }

  Result<void> check_cluster(const PlannedLaunch& launch) const {
    if (launch.cluster == Dimensions{0, 0, 0}) return {};
    const std::string what = "cluster of " + text(launch.cluster);
    if (limits_.device.compute_major < kFirstWithClusters) {
      return refuse(fmt::format("{}: compute capability {}.{} has no clusters", what,
                                limits_.device.compute_major, limits_.device.compute_minor));
    }
    for (int i = 0; i < 3; ++i) {
      if (launch.cluster[i] == 0 || launch.grid[i] % launch.cluster[i] != 0) {
        return refuse(fmt::format("{} doesn't divide the grid of {}", what, text(launch.grid)));
      }
    }
    if (product(launch.cluster) > kMaxCluster) {
      return refuse(fmt::format("{}: at most {} blocks", what, kMaxCluster));
    }
    return {};
  }

  // A cooperative launch whose blocks can't all be resident at once never gets past its barrier.
  Result<void> check_residency(const PlannedLaunch& launch) const {
    if (!launch.is_cooperative) return {};
    const FibPlanDevice& device = limits_.device;
    const auto threads = static_cast<uint64_t>(std::max(0, device.max_threads_per_multiprocessor));
    const auto blocks = static_cast<uint64_t>(std::max(0, device.multiprocessors)) *
                        (threads / product(launch.block));
    if (product(launch.grid) <= blocks) return {};
    return refuse(fmt::format("cooperative grid of {} blocks of {} threads, at most {} at once",
                              product(launch.grid), product(launch.block), blocks));
  }

  Result<void> check_arguments(const PlannedLaunch& launch) const {
    size_t bytes = 0;
    const auto place = [&bytes](size_t size, size_t alignment) {
      bytes = (bytes + alignment - 1) / alignment * alignment + size;
    };
    for (size_t i = 0; i < launch.arguments.size(); ++i) {
      const std::string which = fmt::format("argument {}", i);
      const auto& value = launch.arguments[i].value;
      if (const auto* pointer = std::get_if<FibPlanPointer>(&value)) {
        FIB_CHECK(check_pointer(which, *pointer, 0, launch.is_prepare));
        place(kPointerBytes, kPointerBytes);
      } else if (const auto* map = std::get_if<FibPlanTensorMap>(&value)) {
        FIB_CHECK(check_tensor_map(which, *map, launch.is_prepare));
        place(kTensorMapBytes, kTensorMapAlignment);
      } else {
        const size_t size = std::get<std::vector<std::byte>>(value).size();
        if (size == 0) return refuse(which + ": no bytes");
        place(size, 1);
      }
      if (bytes > kMaxArgumentBytes) {
        return refuse(fmt::format("arguments of more than {} bytes", kMaxArgumentBytes));
      }
    }
    return {};
  }

  Result<void> check(const PlannedMemset& memset) const {
    if (memset.target.space == FIB_SPACE_INPUT) return refuse("inputs can't be written");
    return check_pointer("target", memset.target, memset.bytes, memset.is_prepare);
  }

  // The size of what a pointer points into, once its space and index are known to be right.
  Result<uint64_t> buffer_bytes(const std::string& which, const FibPlanPointer& pointer) const {
    const auto at = [&](const std::vector<uint64_t>& sizes) -> Result<uint64_t> {
      const auto index = static_cast<size_t>(pointer.index);
      if (pointer.index >= 0 && index < sizes.size()) return sizes[index];
      return refuse(fmt::format("{}: {} {}, there are {}", which,
                                kSpaceNames[static_cast<size_t>(pointer.space)], pointer.index,
                                sizes.size()));
    };
    switch (pointer.space) {
      case FIB_SPACE_INPUT: return at(limits_.input_bytes);
      case FIB_SPACE_OUTPUT: return at(limits_.output_bytes);
      case FIB_SPACE_WORKSPACE: return at({plan_.workspace_bytes});
      case FIB_SPACE_PREPARED: return at({plan_.prepared_bytes});
      default: return refuse(fmt::format("{}: unknown space {}", which, pointer.space));
    }
  }

  // [pointer, pointer + bytes) lies in its buffer, and so does the pointer itself. Only an empty
  // buffer may be pointed at without any byte behind it: a batch without entries is a batch.
  Result<void> check_pointer(const std::string& which, const FibPlanPointer& pointer,
                             uint64_t bytes, bool is_prepare) const {
    const uint64_t size = FIB_TRY(buffer_bytes(which, pointer));
    const auto offset = static_cast<uint64_t>(pointer.byte_offset);
    const char* space = kSpaceNames[static_cast<size_t>(pointer.space)];
    const bool is_inside = pointer.byte_offset >= 0 && offset <= size && bytes <= size - offset &&
                           (offset < size || size == 0);
    if (!is_inside) {
      return refuse(fmt::format("{}: {} bytes at offset {} of {} {}, which has {}", which, bytes,
                                pointer.byte_offset, space, pointer.index, size));
    }
    if (is_prepare) return check_prepare(which, pointer);
    return {};
  }

  // What a prepare step reads must be there before the call: weights alone are.
  Result<void> check_prepare(const std::string& which, const FibPlanPointer& pointer) const {
    const auto& weights = limits_.weights;
    const bool is_weight =
        pointer.space == FIB_SPACE_INPUT &&
        std::find(weights.begin(), weights.end(), pointer.index) != weights.end();
    if (is_weight || pointer.space == FIB_SPACE_PREPARED) return {};
    return refuse(fmt::format("{}: a prepare step may use weights and prepared memory, not {} {}",
                              which, kSpaceNames[static_cast<size_t>(pointer.space)],
                              pointer.index));
  }

  Result<void> check_tensor_map(const std::string& which, const FibPlanTensorMap& map,
                                bool is_prepare) const {
    if (limits_.device.compute_major < kFirstWithClusters) {
      return refuse(fmt::format("{}: compute capability {}.{} has no tensor maps", which,
                                limits_.device.compute_major, limits_.device.compute_minor));
    }
    if (map.dtype < 0 || static_cast<size_t>(map.dtype) >= kTensorMapBits.size()) {
      return refuse(fmt::format("{}: tensor map of unknown dtype {}", which, map.dtype));
    }
    if (map.rank < 1 || map.rank > 5) {
      return refuse(fmt::format("{}: tensor map of rank {}, from 1 to 5", which, map.rank));
    }
    if (map.base.byte_offset % 16 != 0) {
      return refuse(fmt::format("{}: tensor map at offset {}, not a multiple of 16", which,
                                map.base.byte_offset));
    }
    const uint64_t bytes = FIB_TRY(span_of(which, map));
    return check_pointer(which, map.base, bytes, is_prepare);
  }

  // The bytes from a tensor map's base to the end of its last element.
  Result<uint64_t> span_of(const std::string& which, const FibPlanTensorMap& map) const {
    constexpr uint64_t kMaxSize = uint64_t{1} << 32, kMaxStride = uint64_t{1} << 40;
    unsigned __int128 bytes = 0;
    for (uint32_t i = 0; i < map.rank; ++i) {
      const uint64_t stride = i == 0 ? 0 : map.stride_bytes[i - 1];
      if (map.size[i] < 1 || map.size[i] > kMaxSize || map.box[i] < 1 || map.box[i] > 256 ||
          map.element_stride[i] < 1 || map.element_stride[i] > 8 ||
          (i > 0 && (stride == 0 || stride % 16 != 0 || stride >= kMaxStride))) {
        return refuse(fmt::format(
            "{}: tensor map dimension {}: size {} (1 to 2^32), stride {} (a multiple of 16 below "
            "2^40), box {} (1 to 256), element stride {} (1 to 8)",
            which, i, map.size[i], stride, map.box[i], map.element_stride[i]));
      }
      bytes += i == 0 ? (static_cast<unsigned __int128>(map.size[0]) *
                             kTensorMapBits[static_cast<size_t>(map.dtype)] +
                         7) /
                            8
                      : static_cast<unsigned __int128>(map.size[i] - 1) * stride;
    }
    // At most 2^35 + 4 * 2^72: the check of the pointer needs no more than "too much".
    return static_cast<uint64_t>(std::min<unsigned __int128>(bytes, UINT64_MAX));
  }

  const LaunchPlan& plan_;
  const PlanLimits& limits_;
  size_t step_ = 0;
};

}  // namespace

Result<void> check_plan(const LaunchPlan& plan, const PlanLimits& limits) {
  return Checker(plan, limits).check();
}

}  // namespace fib
