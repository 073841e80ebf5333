#include "agents/proposers/llm/answer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "agents/proposers/llm/patch.h"
#include "agents/text.h"
#include "signatures/base/utf8.h"
#include "signatures/design_space.h"
#include "signatures/document.h"
#include "signatures/solution_folder.h"

namespace fib::agents {

namespace {

constexpr size_t kShortestFence = 3;
constexpr size_t kLongestPath = 200;
constexpr size_t kLongestNote = 200;
constexpr size_t kLargestAnswerFile = size_t{1} << 20;  // as of a solution folder's
constexpr std::string_view kNoteMark = "NOTE:";
constexpr std::string_view kBlocks = "blocks begin with ```patch PATH, ```file PATH or ```new PATH";

struct Block {
  enum class Kind { kPatch, kFile, kNew } kind = Kind::kPatch;
  std::string_view path;
  std::vector<std::string_view> lines;
  size_t line = 0;  // of its fence
};

Failure wrong(size_t line, std::string message, std::string_view remedy = {},
              ErrorCode code = ErrorCode::kInvalidInput) {
  return fail(code, std::move(message), fmt::format("line {}", line), std::string(remedy));
}

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::string_view without_end_spaces(std::string_view line) {
  const size_t last = line.find_last_not_of(" \t\r");
  return last == std::string_view::npos ? std::string_view() : line.substr(0, last + 1);
}

size_t fence_length(std::string_view line) {
  const size_t length = std::min(line.find_first_not_of('`'), line.size());
  return length < kShortestFence ? 0 : length;
}

// Each part a plain name, so nothing hidden, no way up and nothing that a shell would read.
bool is_plain_path(std::string_view path) {
  if (path.size() > kLongestPath) return false;
  while (true) {
    const size_t slash = path.find('/');
    if (!is_plain_name(path.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

const SourceFile* find(const std::vector<SourceFile>& files, std::string_view path) {
  const auto found = std::find_if(files.begin(), files.end(),
                                  [&](const SourceFile& file) { return file.path == path; });
  return found == files.end() ? nullptr : &*found;
}

bool is_folder_of(std::string_view folder, std::string_view path) {
  return path.size() > folder.size() && path.starts_with(folder) && path[folder.size()] == '/';
}

// What stands behind the backticks of an opening fence.
Result<Block> read_header(std::string_view header, size_t line) {
  Block block{.line = line};
  const size_t space = header.find(' ');
  const std::string_view kind = header.substr(0, space);
  if (kind == "patch") {
    block.kind = Block::Kind::kPatch;
  } else if (kind == "file") {
    block.kind = Block::Kind::kFile;
  } else if (kind == "new") {
    block.kind = Block::Kind::kNew;
  } else {
    return wrong(line, fmt::format("a block that begins with '```{}'", header), kBlocks);
  }
  if (space != std::string_view::npos) block.path = trimmed(header.substr(space));
  if (block.path.empty()) return wrong(line, fmt::format("```{} names no file", kind), kBlocks);
  return block;
}

Result<void> check_path(const Block& block, const std::vector<SourceFile>& files) {
  if (!is_plain_path(block.path)) {
    return wrong(block.line, fmt::format("'{}' is no path of the solution", block.path),
                 "a relative path of letters, digits and ._+- only, no part of it starting with a "
                 "dot",
                 ErrorCode::kUnsupported);
  }
  const bool is_there = find(files, block.path) != nullptr;
  if (block.kind != Block::Kind::kNew) {
    if (is_there) return {};
    std::vector<std::string_view> paths;
    for (const SourceFile& file : files) paths.push_back(file.path);
    return wrong(
        block.line, fmt::format("the solution has no file '{}'", block.path),
        fmt::format("it has {}; what it doesn't have begins with ```new", fmt::join(paths, ", ")));
  }
  if (is_there) {
    return wrong(block.line, fmt::format("the solution has a file '{}' already", block.path),
                 "give it as ```file or ```patch");
  }
  for (const SourceFile& file : files) {
    if (is_folder_of(file.path, block.path) || is_folder_of(block.path, file.path)) {
      return wrong(block.line,
                   fmt::format("'{}' and '{}' can't be in one folder", block.path, file.path),
                   "choose another name");
    }
  }
  return {};
}

struct Read {
  std::string_view note;
  std::vector<Block> blocks;
};

Result<Read> read_blocks(const std::vector<std::string_view>& lines) {
  Read read;
  for (size_t i = 0; i < lines.size(); ++i) {
    const size_t fence = fence_length(lines[i]);
    if (fence == 0) {
      const std::string_view line = trimmed(lines[i]);
      if (read.note.empty() && line.starts_with(kNoteMark)) {
        read.note = trimmed(line.substr(kNoteMark.size()));
      }
      continue;
    }
    Block block = FIB_TRY(read_header(trimmed(lines[i].substr(fence)), i + 1));
    const std::string_view end = lines[i].substr(0, fence);
    for (++i; i < lines.size() && without_end_spaces(lines[i]) != end; ++i) {
      block.lines.push_back(lines[i]);
    }
    if (i == lines.size()) {
      return wrong(block.line,
                   fmt::format("the block that begins here, of '{}', has no end", block.path),
                   fmt::format("close it with {} alone on a line", end));
    }
    read.blocks.push_back(std::move(block));
  }
  return read;
}

Result<std::string> content_of(const Block& block, const std::vector<SourceFile>& files) {
  std::string content;
  if (block.kind == Block::Kind::kPatch) {
    const std::vector<Edit> edits = FIB_TRY(parse_edits(block.lines, block.line + 1));
    content = FIB_TRY(apply_edits(find(files, block.path)->content, edits, block.path));
  } else {
    for (const std::string_view line : block.lines) content.append(line).push_back('\n');
    if (content.find_first_not_of(" \t\n") == std::string::npos) {
      return wrong(block.line, fmt::format("'{}' would be empty", block.path));
    }
  }
  if (content.size() > kLargestAnswerFile) {
    return wrong(block.line, fmt::format("'{}' would have {} bytes", block.path, content.size()),
                 "at most 1 MiB");
  }
  if (content.find('\0') != std::string::npos) {
    return wrong(block.line, fmt::format("'{}' would hold a zero byte", block.path));
  }
  return content;
}

std::string note_of(const Read& read) {
  if (read.note.empty()) {
    std::vector<std::string_view> paths;
    for (const Block& block : read.blocks) paths.push_back(block.path);
    return fmt::format("changed {}", fmt::join(paths, ", "));
  }
  size_t length = 0;
  while (length < read.note.size()) {
    const size_t next = length + utf8_length(read.note.substr(length));
    if (next > kLongestNote || next == length) break;
    length = next;
  }
  return std::string(read.note.substr(0, length));
}

}  // namespace

std::vector<SourceFile> editable_files(const Solution& solution) {
  std::vector<SourceFile> files = solution.sources;
  files.push_back({std::string(kManifestFile), dump_json_pretty(solution.fib) + "\n"});
  return files;
}

Result<Answer> parse_answer(std::string_view text, const std::vector<SourceFile>& files) {
  std::string unix_text(text);
  std::erase(unix_text, '\r');  // some endpoints end lines so; no source needs it
  const std::vector<std::string_view> lines = lines_of(unix_text);
  const Read read = FIB_TRY(read_blocks(lines));
  if (read.blocks.empty()) {
    return wrong(lines.size(), "the answer ends without a block that changes a file", kBlocks);
  }
  Answer answer{.note = note_of(read), .files = files};
  std::vector<std::string_view> changed;
  for (const Block& block : read.blocks) {
    if (std::find(changed.begin(), changed.end(), block.path) != changed.end()) {
      return wrong(block.line, fmt::format("a second block for '{}'", block.path),
                   "one block a file; a patch may have several edits");
    }
    changed.push_back(block.path);
    FIB_CHECK(check_path(block, answer.files));
    std::string content = FIB_TRY(content_of(block, files));
    if (block.kind == Block::Kind::kNew) {
      answer.files.push_back({std::string(block.path), std::move(content)});
      continue;
    }
    for (SourceFile& file : answer.files) {
      if (file.path == block.path) file.content = std::move(content);
    }
  }
  return answer;
}

Result<Solution> with_files(const Solution& parent, const std::vector<SourceFile>& files) {
  Solution child = parent;
  child.original = Json();
  child.sources.clear();
  for (const SourceFile& file : files) {
    if (file.path != kManifestFile) {
      child.sources.push_back(file);
      continue;
    }
    child.fib = FIB_TRY(parse_json(file.content, kManifestFile));
    if (!child.fib.is_object()) {
      return fail(ErrorCode::kInvalidInput, "is not an object", std::string(kManifestFile));
    }
  }
  child.where = kManifestFile;
  const auto complain = [](Error error) {
    error.code = ErrorCode::kInvalidInput;
    return fail(std::move(error));
  };
  const auto manifest = manifest_of(child);
  if (!manifest) return complain(manifest.error());
  if (const auto space = design_space_of(child); !space) return complain(space.error());
  if (manifest->target != parent.fib.value("target", "")) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("the target is '{}' and stays so", parent.fib.value("target", "")),
                std::string(kManifestFile));
  }
  return child;
}

std::string_view without_thoughts(std::string_view text) {
  constexpr std::string_view kBegin = "<think>", kEnd = "</think>";
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos || !text.substr(first).starts_with(kBegin)) return text;
  const size_t end = text.find(kEnd, first);
  return end == std::string_view::npos ? text : text.substr(end + kEnd.size());
}

}  // namespace fib::agents
