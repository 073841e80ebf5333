#pragma once

// What a search begins with.

#include <string>
#include <vector>

#include "harness/runner.h"
#include "integrations/cli/context.h"
#include "leaderboard/store.h"

namespace fib {

struct SeedSearch {
  const Context& context;
  const Runner& runner;
  const SignaturePtr& signature;
  const std::string& hardware;  // DeviceInfo::key
  const Store& store;
  // Folders (with one solution or many below), files, names or keys. Empty: the house's solutions
  // that fit, its best first, and the board's leader on this hardware.
  const std::vector<std::string>& asked;
};

// Each once, the baseline first. Errors: one that was asked for and doesn't fit or can't run; none
// at all.
Result<std::vector<Solution>> find_seeds(const SeedSearch& search);

}  // namespace fib
