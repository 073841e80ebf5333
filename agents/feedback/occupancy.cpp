#include "agents/feedback/occupancy.h"

#include <algorithm>
#include <utility>

namespace fib::agents {

namespace {

// The CUDA C++ Programming Guide's table of technical specifications by compute capability.
struct Multiprocessor {
  std::string_view architecture;
  int64_t warps, blocks, shared_bytes;
};
constexpr Multiprocessor kMultiprocessors[] = {
    {"sm_80", 64, 32, 164 << 10},  {"sm_86", 48, 16, 100 << 10},  {"sm_87", 48, 16, 164 << 10},
    {"sm_89", 48, 24, 100 << 10},  {"sm_90", 64, 32, 228 << 10},  {"sm_100", 64, 32, 228 << 10},
    {"sm_103", 64, 32, 228 << 10}, {"sm_120", 48, 24, 100 << 10},
};

// The same for all of them.
constexpr int64_t kRegisters = 64 << 10;
constexpr int64_t kRegisterUnit = 256;        // a warp's registers are given in so many
constexpr int64_t kSharedUnit = 128;          // bytes
constexpr int64_t kReservedShared = 1 << 10;  // bytes of each block, for the system
constexpr int64_t kSchedulers = 4;            // each has a quarter of the registers
constexpr int64_t kThreadsOfWarp = 32;

int64_t rounded_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// "sm_90a" and "sm_100f" are "sm_90" and "sm_100" with more instructions.
std::string_view without_suffix(std::string_view architecture) {
  while (!architecture.empty() && (architecture.back() < '0' || architecture.back() > '9')) {
    architecture.remove_suffix(1);
  }
  return architecture;
}

}  // namespace

std::optional<Occupancy> theoretical_occupancy(std::string_view architecture,
                                               const BlockResources& block) {
  const auto* const found = std::ranges::find(kMultiprocessors, without_suffix(architecture),
                                              &Multiprocessor::architecture);
  if (found == std::end(kMultiprocessors) || block.threads <= 0) return std::nullopt;
  const int64_t warps = rounded_up(block.threads, kThreadsOfWarp) / kThreadsOfWarp;
  const int64_t registers_of_warp =
      rounded_up(std::max<int64_t>(block.registers, 1) * kThreadsOfWarp, kRegisterUnit);
  const int64_t warps_by_registers = kRegisters / kSchedulers / registers_of_warp * kSchedulers;
  const int64_t shared = rounded_up(block.shared_bytes + kReservedShared, kSharedUnit);

  const std::pair<int64_t, const char*> limits[] = {
      {found->warps / warps, "threads"},
      {found->blocks, "blocks"},
      {warps_by_registers / warps, "registers"},
      {found->shared_bytes / shared, "shared memory"}};
  const auto& least = *std::ranges::min_element(
      limits, {}, [](const std::pair<int64_t, const char*>& limit) { return limit.first; });
  if (least.first == 0) return std::nullopt;
  return Occupancy{
      .blocks = least.first,
      .share = static_cast<double>(least.first * warps) / static_cast<double>(found->warps),
      .limited_by = least.second};
}

}  // namespace fib::agents
