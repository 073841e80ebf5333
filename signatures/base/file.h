#pragma once

// Files: whole reads, atomic writes, locked-down relative paths.

#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "signatures/base/result.h"

namespace fib {

Result<std::string> read_file(const std::filesystem::path& file);

// Writes to a temporary name beside `file`, fsyncs and renames, so that a reader sees the old
// content or the new, never a part. A full disk leaves the old file and an Error (kIo).
Result<void> write_file_atomically(const std::filesystem::path& file, std::string_view content);
Result<void> write_file_atomically(const std::filesystem::path& file,
                                   std::span<const std::string_view> pieces);

// A relative path without "..", absolute parts, empty segments or backslashes
// ("./a/b" passes: dataset rows spell blob paths so).
bool is_safe_relative_path(std::string_view path);

}  // namespace fib
