#include "agents/proposers/llm/patch.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "agents/text.h"

namespace fib::agents {

namespace {

constexpr std::string_view kSearchMark = "<<<<<<< SEARCH";
constexpr std::string_view kMiddleMark = "=======";
constexpr std::string_view kReplaceMark = ">>>>>>> REPLACE";
constexpr std::string_view kShape =
    "an edit is '<<<<<<< SEARCH', lines of the file, '=======', lines to stand in their place, "
    "'>>>>>>> REPLACE', each mark on a line of its own";

using Lines = std::vector<std::string_view>;

std::string line_place(size_t line) { return fmt::format("line {}", line); }

Failure wrong(size_t line, std::string message, std::string_view remedy = kShape) {
  return fail(ErrorCode::kInvalidInput, std::move(message), line_place(line), std::string(remedy));
}

size_t equal_lines(const Lines& file, size_t at, const Lines& search) {
  size_t count = 0;
  while (count < search.size() && at + count < file.size() && file[at + count] == search[count]) {
    ++count;
  }
  return count;
}

// Where the file comes closest to text that it doesn't have, for whoever has to correct it.
std::string nearest_place(const Lines& file, const Lines& search) {
  size_t best = 0, best_at = 0;
  for (size_t at = 0; at < file.size(); ++at) {
    const size_t count = equal_lines(file, at, search);
    if (count > best) best = count, best_at = at;
  }
  if (best == 0) {
    return fmt::format("no line of the file is '{}'", search.front());
  }
  const std::string there = best_at + best < file.size()
                                ? fmt::format("the file has '{}'", file[best_at + best])
                                : std::string("the file ends");
  return fmt::format(
      "its first {} line{} stand{} at line {} of the file, but then {} where the "
      "search text has '{}'",
      best, best == 1 ? "" : "s", best == 1 ? "s" : "", best_at + 1, there, search[best]);
}

struct Placed {
  size_t at = 0;  // line of the file, from 0
  const Edit* edit = nullptr;
};

Result<Placed> place(const Lines& file, const Edit& edit, std::string_view path) {
  std::vector<size_t> found;  // from 1, as people count
  for (size_t at = 0; at + edit.search.size() <= file.size(); ++at) {
    if (equal_lines(file, at, edit.search) == edit.search.size()) found.push_back(at + 1);
  }
  if (found.empty()) {
    return wrong(
        edit.line,
        fmt::format("the search text isn't in {}: {}", path, nearest_place(file, edit.search)),
        "copy whole lines exactly as they are, spaces included");
  }
  if (found.size() > 1) {
    const size_t shown = std::min<size_t>(found.size(), 8);
    return wrong(edit.line,
                 fmt::format("the search text is in {} {} times, at the lines {}{}", path,
                             found.size(), fmt::join(found.begin(), found.begin() + shown, ", "),
                             shown < found.size() ? ", ..." : ""),
                 "add lines around it, so that it occurs once");
  }
  return Placed{found.front() - 1, &edit};
}

}  // namespace

Result<std::vector<Edit>> parse_edits(const std::vector<std::string_view>& lines,
                                      size_t first_line) {
  enum class Part { kBetween, kSearch, kReplacement } part = Part::kBetween;
  std::vector<Edit> edits;
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string_view line = lines[i];
    const size_t number = first_line + i;
    const bool is_mark = line == kSearchMark || line == kReplaceMark;
    switch (part) {
      case Part::kBetween:
        if (line == kSearchMark) {
          edits.push_back({.line = number});
          part = Part::kSearch;
        } else if (line.find_first_not_of(" \t") != std::string_view::npos) {
          return wrong(number, fmt::format("'{}' stands outside an edit", line));
        }
        break;
      case Part::kSearch:
        if (is_mark) return wrong(number, fmt::format("'{}' where '{}' is due", line, kMiddleMark));
        if (line == kMiddleMark) {
          part = Part::kReplacement;
        } else {
          edits.back().search.push_back(line);
        }
        break;
      case Part::kReplacement:
        if (line == kReplaceMark) {
          if (edits.back().search.empty()) {
            return wrong(edits.back().line, "the search text is empty",
                         "to add lines, search for the line beside them and repeat it");
          }
          part = Part::kBetween;
        } else if (is_mark || line == kMiddleMark) {
          return wrong(number, fmt::format("'{}' where '{}' is due", line, kReplaceMark));
        } else {
          edits.back().replacement.push_back(line);
        }
        break;
    }
  }
  if (part != Part::kBetween) {
    return wrong(edits.back().line,
                 fmt::format("the edit that begins here has no '{}'",
                             part == Part::kSearch ? kMiddleMark : kReplaceMark));
  }
  if (edits.empty()) return wrong(first_line, "the patch has no edit");
  return edits;
}

Result<std::string> apply_edits(std::string_view content, const std::vector<Edit>& edits,
                                std::string_view path) {
  const Lines file = lines_of(content);
  std::vector<Placed> placed;
  for (const Edit& edit : edits) placed.push_back(FIB_TRY(place(file, edit, path)));
  std::sort(placed.begin(), placed.end(),
            [](const Placed& a, const Placed& b) { return a.at < b.at; });
  std::string result;
  size_t next = 0;
  const auto add = [&](std::string_view line) { result.append(line).push_back('\n'); };
  for (const Placed& change : placed) {
    if (change.at < next) {
      return wrong(
          change.edit->line,
          fmt::format("two edits of {} overlap at line {} of the file", path, change.at + 1),
          "make one edit of them");
    }
    for (; next < change.at; ++next) add(file[next]);
    for (const std::string_view line : change.edit->replacement) add(line);
    next += change.edit->search.size();
  }
  for (; next < file.size(); ++next) add(file[next]);
  return result;
}

}  // namespace fib::agents
