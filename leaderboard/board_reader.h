#pragma once

// Reads what boards are ranked from out of the table `latest`.

#include <string_view>
#include <vector>

#include "leaderboard/board.h"
#include "leaderboard/sqlite.h"

namespace fib {

// One BoardInput a (signature, hardware, configuration), in that order. Empty: all signatures.
Result<std::vector<BoardInput>> read_boards(const Database& database, std::string_view signature);

}  // namespace fib
