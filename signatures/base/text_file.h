#pragma once

// Text files, packed or not, and their lines.

#include <filesystem>
#include <string>
#include <string_view>

#include "signatures/base/result.h"

namespace fib {

// All of a file; one whose name ends in .gz is unpacked. A file cut short is an error.
Result<std::string> read_text_file(const std::filesystem::path& file);

// The lines of a text that outlives it, for errors that name them.
class LineReader {
 public:
  explicit LineReader(std::string_view text) : rest_(text) {}

  // The next line that isn't blank, without its end; false after the last.
  bool next();
  std::string_view line() const { return line_; }
  size_t number() const { return number_; }  // from 1, blank lines counted

 private:
  std::string_view rest_, line_;
  size_t number_ = 0;
};

}  // namespace fib
