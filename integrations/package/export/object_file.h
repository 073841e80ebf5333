#pragma once

// What the symbol table of a relocatable 64-bit ELF object says.

#include <filesystem>
#include <set>
#include <string>

#include "signatures/base/result.h"

namespace fib {

struct ObjectFile {
  std::set<std::string> visible;  // defined, and seen by other objects: global, weak or unique
  bool runs_when_loaded = false;  // it has static constructors
};

// kInvalidInput for a file that isn't such an object, or is cut off.
Result<ObjectFile> read_object_file(const std::filesystem::path& file);

}  // namespace fib
