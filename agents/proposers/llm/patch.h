#pragma once

// Search/replace edits of one file. They speak of whole lines, each search text occurs exactly once
// in the file as it was, and no two overlap: so their order changes nothing, and an edit that was
// meant for another version of the file is noticed instead of guessed at.

#include <string>
#include <string_view>
#include <vector>

#include "signatures/base/result.h"

namespace fib::agents {

struct Edit {
  std::vector<std::string_view> search, replacement;  // lines without their ends
  size_t line = 0;                                    // of its first mark, in the answer
};

// Reads a block's lines, of which the first is line `first_line` of the answer. Errors
// (kInvalidInput) have the line as `where`; they are meant for the model that wrote it.
Result<std::vector<Edit>> parse_edits(const std::vector<std::string_view>& lines,
                                      size_t first_line);

// The file after the edits, ending with a newline. `path` is for errors only.
Result<std::string> apply_edits(std::string_view content, const std::vector<Edit>& edits,
                                std::string_view path);

}  // namespace fib::agents
