// Blocks of sources between their marks: signatures/design_space.h.

#include <fmt/format.h>

#include <algorithm>

#include "signatures/design_space.h"
#include "signatures/document.h"

namespace fib {
namespace {

constexpr std::string_view kBegin = "// fib:block";
constexpr std::string_view kEnd = "// fib:end";

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

struct Mark {
  bool is_begin = false;
  std::string_view name;
};

// A line that begins with one of the marks; what follows it is the block's name.
std::optional<Mark> mark_of(std::string_view line) {
  line = trimmed(line);
  for (const std::string_view mark : {kBegin, kEnd}) {
    if (line.starts_with(mark)) return Mark{mark == kBegin, trimmed(line.substr(mark.size()))};
  }
  return std::nullopt;
}

// A block and where its text stands in its file.
struct FoundBlock {
  std::string name;
  size_t begin = 0, end = 0;
};

// The blocks of one file, in their order.
Result<std::vector<FoundBlock>> find_blocks(const SourceFile& source, const std::string& where) {
  std::vector<FoundBlock> blocks;
  std::string open;  // the block that the line is in
  int64_t number = 0;
  const std::string_view text = source.content;
  const auto error = [&](std::string message, std::string remedy = {}) {
    return fail(ErrorCode::kInvalidInput, std::move(message),
                fmt::format("{}: {}:{}", where, source.path, number), std::move(remedy));
  };
  for (size_t at = 0; at < text.size();) {
    const size_t next = std::min(text.find('\n', at), text.size() - 1) + 1;
    const auto mark = mark_of(text.substr(at, next - at));
    ++number;
    if (mark && !is_plain_name(mark->name)) {
      return error(fmt::format("'{}' can't be the name of a block", mark->name),
                   "'// fib:block NAME' with letters, digits and ._+- only");
    }
    if (mark && mark->is_begin) {
      if (!open.empty()) {
        return error(fmt::format("block '{}' begins within block '{}'", mark->name, open),
                     fmt::format("end it first: '// fib:end {}'", open));
      }
      open = mark->name;
      blocks.push_back({open, next, next});
    } else if (mark) {
      if (mark->name != open) {
        return error(
            fmt::format("'// fib:end {}' without its '// fib:block {}'", mark->name, mark->name));
      }
      blocks.back().end = at;
      open.clear();
    }
    at = next;
  }
  if (!open.empty()) {
    return error(fmt::format("block '{}' never ends", open), fmt::format("'// fib:end {}'", open));
  }
  return blocks;
}

}  // namespace

Result<std::vector<SourceBlock>> source_blocks(const Solution& solution) {
  std::vector<SourceBlock> blocks;
  for (const SourceFile& source : solution.sources) {
    const auto found = FIB_TRY(find_blocks(source, solution.where));
    for (const FoundBlock& block : found) {
      for (const SourceBlock& other : blocks) {
        if (other.name != block.name) continue;
        return fail(
            ErrorCode::kInvalidInput,
            fmt::format("block '{}' is in '{}' and in '{}'", block.name, other.file, source.path),
            solution.where, "each block has a name of its own");
      }
      blocks.push_back(
          {block.name, source.path, source.content.substr(block.begin, block.end - block.begin)});
    }
  }
  return blocks;
}

Result<Solution> with_block(const Solution& solution, std::string_view name,
                            std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t next = std::min(text.find('\n', at), text.size() - 1) + 1;
    if (mark_of(text.substr(at, next - at))) {
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("the text for block '{}' has a mark in it", name), solution.where,
                  "only what stands between the marks");
    }
    at = next;
  }
  Solution changed = solution;
  for (SourceFile& source : changed.sources) {
    const auto found = FIB_TRY(find_blocks(source, solution.where));
    const auto block = std::find_if(found.begin(), found.end(),
                                    [&](const FoundBlock& one) { return one.name == name; });
    if (block == found.end()) continue;
    std::string replacement(text);
    if (!replacement.empty() && replacement.back() != '\n') replacement += '\n';
    source.content.replace(block->begin, block->end - block->begin, replacement);
    return changed;
  }
  return fail(ErrorCode::kNotFound, fmt::format("there is no block '{}'", name), solution.where);
}

}  // namespace fib
