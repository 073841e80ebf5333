#pragma once

// Where the exchange of the serving kernels for those of another package stands.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fib {

enum class SwapState {
  kServing,     // nothing is under way
  kLoading,     // the package is read and checked
  kWarming,     // its kernels are resolved, weights laid out for them
  kShadowing,   // they run beside those that serve, on live calls, and are compared
  kWatching,    // they serve; those before are still there, to be compared with and to go back to
  kRolledBack,  // the package before serves; `reason` says why
};
std::string_view swap_state_name(SwapState state);  // "serving", "rolled back", ...

struct SwapOptions {
  int agreements = 3;      // calls of a signature that must agree before its new kernel serves
  int call_interval = 5;   // of the calls of a signature one in so many is compared
  int eager_interval = 8;  // where steps are graphs, one in so many runs call by call, to compare
  int shadow_steps = 16;   // at least, before anything is exchanged
  int watch_steps = 256;   // after that
};

struct SwappedSignature {
  std::string signature;
  std::string package;    // that serves it; "house" where that lends what the package lacks
  std::string candidate;  // package that is to serve it; "" : none
  int64_t compared = 0;   // calls, since the last exchange began
};

struct SwapStatus {
  SwapState state = SwapState::kServing;
  std::string package;    // that serves, or did before a signature of it was exchanged
  std::string candidate;  // loading to watching; rolled back: what it was
  std::string reason;     // rolled back: why
  uint64_t switched = 0, rolled_back = 0;  // exchanges so far, by their end
  std::vector<SwappedSignature> signatures;
};

}  // namespace fib
