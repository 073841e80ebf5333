#pragma once

// A verdict in words: the cells of a row, and the whole page of `fib show`.

#include <iosfwd>
#include <string>

#include "harness/verdict.h"
#include "integrations/cli/terminal.h"

namespace fib {

// What the measured time makes of the roofline's bytes or operations: "612 GB/s"; "" unknown.
std::string rate_cell(const Verdict& verdict);
std::string roofline_cell(const Verdict& verdict);  // "63 %" or ""
// The worst output's error against an honest implementation's: "1.1x honest", "exact", "".
std::string error_cell(const Verdict& verdict);
// "PASSED" in green, else the status in red with the finer reason.
std::string status_cell(const Verdict& verdict, const Style& style);
// "1.213x 1.198-1.227  FASTER, confirmed"; "not paired"; "" where nobody asked for a pair.
std::string pair_cell(const Verdict& verdict, const Style& style);
// "batch_size=7 num_pages=12".
std::string axes_text(const Json& axes);

// Everything there is to say.
void print_verdict(std::ostream& out, const Style& style, const Verdict& verdict);

}  // namespace fib
