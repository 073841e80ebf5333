#pragma once

// The C++ source of a package's table (integrations/package/runtime/package_table.h) and of its
// tvm-ffi functions.

#include <string>
#include <vector>

#include "integrations/package/export/compile_package.h"

namespace fib {

// A file that becomes constant bytes in the shared object, under a symbol.
struct EmbeddedFile {
  std::string symbol;
  std::string content;
};

struct TableSource {
  std::string table;      // C++
  std::string embedding;  // assembler: each embedded file, read from <symbol>.bin
  std::vector<EmbeddedFile> embedded;
};

TableSource table_source(const CompiledPackage& package,
                         const std::vector<std::string>& tvm_ffi_names,
                         const std::string& manifest);

}  // namespace fib
