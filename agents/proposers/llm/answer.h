#pragma once

// A model's answer, read strictly: what it isn't sure to mean is a complaint, never a guess. The
// format is what agents/prompts/v1/system.md tells the model:
//
//   NOTE: eight values a load instead of one        a line, for the record
//   ```patch kernel.cu        edits of a file (patch.h)
//   ```file kernel.cu         a file of the solution, whole
//   ```new tile.h             a file that the solution didn't have, whole
//
// A block ends with the backticks that it began with, alone on a line; more than three let a file
// have backticks itself. Prose between blocks is passed over, other blocks are not.

#include <string>
#include <string_view>
#include <vector>

#include "signatures/base/result.h"
#include "signatures/trace.h"

namespace fib::agents {

// What a model sees of a manifest and may change: a file among the sources, of this name.
inline constexpr std::string_view kManifestFile = "solution.json";

// The solution's sources and what its manifest says of the build.
std::vector<SourceFile> editable_files(const Solution& solution);

struct Answer {
  std::string note;               // a line; never empty
  std::vector<SourceFile> files;  // all of them, as they are after the changes
};

// Errors are written for the model, with "line N" of the answer as `where`: kUnsupported for a path
// that leads out of the solution, kInvalidInput for all else.
Result<Answer> parse_answer(std::string_view text, const std::vector<SourceFile>& files);

// The parent with other files. Errors as above, for a manifest that doesn't hold.
Result<Solution> with_files(const Solution& parent, const std::vector<SourceFile>& files);

// Without the thoughts that some models put before what they say, between <think> and </think>.
std::string_view without_thoughts(std::string_view text);

}  // namespace fib::agents
