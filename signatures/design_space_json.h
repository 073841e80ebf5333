#pragma once

// What the manifest's reader and signatures/design_space.h share. Private to signatures/.

#include "signatures/base/json.h"
#include "signatures/design_space.h"

namespace fib {

// What the fields say of the sources and flags: blocks and macros are there, a flag's value is one
// of the tunable's.
Result<void> check_design_space(const DesignSpace& space, const Solution& solution,
                                const JsonView& manifest);

// "TILE" of "-DTILE=64"; empty for flags that set no macro.
std::string_view macro_of_flag(std::string_view flag);

// What the manifest's flags set the tunables to; the others have their initial values.
Result<Configuration> read_configuration(const DesignSpace& space, const JsonView& manifest);

}  // namespace fib
