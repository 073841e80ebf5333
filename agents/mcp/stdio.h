#pragma once

// The stdio transport: a message a line, both ways.

#include <cstddef>
#include <functional>
#include <iosfwd>

#include "agents/mcp/server.h"

namespace fib::mcp {

// Larger than any solution that is taken (8 MiB of sources) as JSON text.
inline constexpr size_t kLongestMessageBytes = size_t{20} << 20;

// A Send that writes lines to `out`, one at a time.
Send line_writer(std::ostream& out);

// Reads messages from the descriptor `in` and answers with `send`, until the input ends, can't be
// read, or `should_stop` (asked several times a second); then abandons what the server is still
// doing. A longer line than `longest_bytes` is refused without being kept.
void serve_lines(Server& server, int in, const Send& send, const std::function<bool()>& should_stop,
                 size_t longest_bytes = kLongestMessageBytes);

}  // namespace fib::mcp
