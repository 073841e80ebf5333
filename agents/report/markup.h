#pragma once

// Text for SVG and HTML.

#include <string>
#include <string_view>

namespace fib::agents {

// Safe between tags and inside quoted attributes, whatever was written into it: markup, control
// characters, bytes that are no UTF-8.
std::string escape_markup(std::string_view text);

// The colour of a proposer, the same in every picture: readable on white and on black, and apart
// from the others for those who see colours differently. `#rrggbb`.
std::string_view proposer_colour(std::string_view proposer);

}  // namespace fib::agents
