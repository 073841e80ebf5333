#include "runners/cuda/device_layout.h"

#include <algorithm>
#include <numeric>

namespace fib {
namespace {

uint64_t align(uint64_t bytes) { return (bytes + kBufferAlign - 1) / kBufferAlign * kBufferAlign; }

}  // namespace

uint64_t layout_bytes(std::span<const LayoutBuffer> buffers) {
  uint64_t total = kBufferAlign;  // the base may be unaligned
  for (const LayoutBuffer& buffer : buffers) total += align(buffer.bytes) + 2 * kGuardBytes;
  return total;
}

Layout lay_out(std::span<const LayoutBuffer> buffers, uint64_t base, uint64_t room,
               uint64_t guard_seed, LayoutRandom& random) {
  const uint64_t slack = room - layout_bytes(buffers);
  // Cumulative gaps before each buffer: sorted draws from [0, slack].
  std::vector<uint64_t> gaps(buffers.size());
  for (uint64_t& gap : gaps) gap = random() % (slack / kBufferAlign + 1) * kBufferAlign;
  std::sort(gaps.begin(), gaps.end());
  std::vector<size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);

  Layout layout;
  layout.addresses.resize(buffers.size());
  layout.guards.seed = guard_seed;
  layout.guards.count = static_cast<uint32_t>(2 * buffers.size());
  for (const LayoutBuffer& buffer : buffers) layout.names.push_back(buffer.name);
  uint64_t used = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    const size_t buffer = order[i];
    const uint64_t bytes = buffers[buffer].bytes;
    const uint64_t address = align(base) + used + gaps[i] + kGuardBytes;
    layout.addresses[buffer] = address;
    // The second guard starts at the very next byte, to catch an overrun by one.
    layout.guards.address[2 * buffer] = address - kGuardBytes;
    layout.guards.bytes[2 * buffer] = kGuardBytes;
    layout.guards.address[2 * buffer + 1] = address + bytes;
    layout.guards.bytes[2 * buffer + 1] =
        static_cast<uint32_t>(align(bytes) - bytes + kGuardBytes);
    used += align(bytes) + 2 * kGuardBytes;
  }
  return layout;
}

std::string guard_place(const Layout& layout, uint64_t index) {
  return (index % 2 == 0 ? "before " : "after ") + layout.names.at(index / 2);
}

}  // namespace fib
