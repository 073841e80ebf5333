#pragma once

#include <filesystem>
#include <vector>

#include "integrations/package/export/table_source.h"
#include "runners/worker/toolchain.h"

namespace fib {

struct LinkRequest {
  const Toolchain& toolchain;
  const TableSource& source;
  std::vector<std::filesystem::path> objects;  // each once
  std::filesystem::path table_header;          // root of the headers that the table includes
  std::filesystem::path runtime_archive;
  std::filesystem::path folder;  // absolute, empty, for the files of the link
};

// Compiles the table and links all of it; returns the shared object in the folder. It shows the C
// interface and the tvm-ffi functions only, needs nothing but the C library, and is the same bytes
// for the same inputs.
Result<std::filesystem::path> link_package(const LinkRequest& request);

}  // namespace fib
