#pragma once

// Prompts are data: Markdown files with {{placeholders}}, readable on their own, in a folder that
// is a version. Which placeholders a file may have is fixed; a misspelled one is found when the
// folder is read, not when a model is asked.

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "signatures/base/result.h"

namespace fib::agents {

using PromptValues = std::vector<std::pair<std::string_view, std::string>>;

class PromptTemplate {
 public:
  // Errors name file and line: an unknown placeholder, one without its end.
  static Result<PromptTemplate> parse(std::string_view text, const std::filesystem::path& file,
                                      const std::vector<std::string_view>& names);
  // Every placeholder must have a value; values are inserted as they are, braces and all.
  std::string render(const PromptValues& values) const;

 private:
  struct Piece {
    std::string text, name;  // text, then the value of `name`, if there is one
  };
  std::vector<Piece> pieces_;
};

struct Prompts {
  std::string target_cpu, target_cuda;  // rules of a target, for {{target_rules}}
  PromptTemplate system;                // system.md
  PromptTemplate propose;               // propose.md
  PromptTemplate repair;                // repair.md
  std::vector<std::string> directions;  // directions.md: its lines that begin with "- "
};
Result<Prompts> read_prompts(const std::filesystem::path& folder);

}  // namespace fib::agents
