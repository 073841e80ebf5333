#pragma once

// Whether the evidence of winners is of the code and the processor that are here today. Nobody
// loses by it: what differs is told.

#include <filesystem>

#include "harness/runner.h"
#include "integrations/package/export/winners.h"
#include "leaderboard/store.h"

namespace fib {

struct OriginCheck {
  const Store& store;
  std::filesystem::path abi;  // harness/abi
  DeviceInfo host;            // this machine's processor
};

// Fills in Evidence::changed_headers and adds an explanation for each piece of hardware with
// winners: fib headers that have changed since they were measured, verdicts of before those were
// kept, and processors that go by one name and differ in their instructions. Returns what should be
// read without --explain too.
Result<std::vector<std::string>> check_origins(Winners& winners, const OriginCheck& check);

}  // namespace fib
