#pragma once

// Packages as they travel: a .tar.zst with one folder in it.

#include <filesystem>

#include "signatures/base/result.h"

namespace fib {

// Where the archive's folder lies unpacked: in `cache_folder`, under the archive's SHA-256, so that
// it is unpacked once. Errors: an archive that is cut off or none at all, that holds something else
// than one folder of files, or whose names lead out of it.
Result<std::filesystem::path> unpack_package(const std::filesystem::path& archive,
                                             const std::filesystem::path& cache_folder);

}  // namespace fib
