#pragma once

// The manifest's fields `tunables`, `constraints` and `variations`. Private to signatures/.

#include "signatures/base/json.h"
#include "signatures/design_space.h"

namespace fib {

// What the fields of `manifest` say by themselves; `sources` are the solution's paths.
Result<DesignSpace> read_design_space(const JsonView& manifest,
                                      const std::vector<std::string>& sources);

// The fields as they are written; those that are empty are left out.
void write_design_space(const DesignSpace& space, Json& manifest);

// What the fields say of the sources and flags: blocks and macros are there, a flag's value is one
// of the tunable's.
Result<void> check_design_space(const DesignSpace& space, const Solution& solution,
                                const JsonView& manifest);

// "TILE" of "-DTILE=64"; empty for flags that set no macro.
std::string_view macro_of_flag(std::string_view flag);

// What the manifest's flags set the tunables to; the others have their initial values.
Result<Configuration> read_configuration(const DesignSpace& space, const JsonView& manifest);

}  // namespace fib
