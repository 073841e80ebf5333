#pragma once

// How many warps of a kernel fit on a multiprocessor, from what a block takes.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace fib::agents {

struct BlockResources {
  int64_t threads = 0;
  int64_t registers = 0;     // a thread
  int64_t shared_bytes = 0;  // static and dynamic
};

struct Occupancy {
  int64_t blocks = 0;      // on a multiprocessor
  double share = 0.0;      // of the warps it can hold, 0..1
  std::string limited_by;  // "registers", "shared memory", "threads", "blocks"
};

// `architecture`: "sm_90a". Nothing for one that isn't known, or a block that doesn't fit.
std::optional<Occupancy> theoretical_occupancy(std::string_view architecture,
                                               const BlockResources& block);

}  // namespace fib::agents
