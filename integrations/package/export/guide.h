#pragma once

// What a package says to whoever unpacks it: README.md, and a whole program in C beside it.

#include <filesystem>

#include "integrations/package/export/package_spec.h"

namespace fib {

// `consumer`: the program, tests/consumers/c/consumer.c.
Result<void> write_guide(const PackageSpec& spec, const std::filesystem::path& consumer,
                         const std::filesystem::path& package);

}  // namespace fib
