#include "agents/feedback/source_diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "agents/text.h"

namespace fib::agents {

namespace {

using Lines = std::span<const std::string_view>;

constexpr size_t kContext = 2;
// Lines that may differ before a part counts as written anew: bounds the work and its memory.
constexpr int kMostChanges = 1000;

enum class Edit : char { kSame = ' ', kRemoved = '-', kAdded = '+' };
struct EditedLine {
  Edit edit = Edit::kSame;
  std::string_view text;
};

void append(std::vector<EditedLine>& script, Edit edit, Lines lines) {
  for (const std::string_view line : lines) script.push_back({edit, line});
}

// Myers' greedy algorithm: `reach[k]` is how far one gets in `before` on the diagonal k = x - y
// with the least number of changes; a copy for each number of changes leads back to the start.
class ShortestEdit {
 public:
  ShortestEdit(Lines before, Lines after)
      : before_(before), after_(after), offset_(kMostChanges + 1), reach_(2 * offset_ + 1, 0) {}

  // False: more changes than the bound.
  bool find() {
    for (int changes = 0; changes <= kMostChanges; ++changes) {
      steps_.emplace_back(reach_.begin() + offset_ - changes - 1,
                          reach_.begin() + offset_ + changes + 2);
      for (int k = -changes; k <= changes; k += 2) {
        int x = start_of(reach_.data() + offset_, k, changes);
        while (x < size(before_) && x - k < size(after_) && before_[x] == after_[x - k]) ++x;
        reach_[offset_ + k] = x;
        if (x >= size(before_) && x - k >= size(after_)) return true;
      }
    }
    return false;
  }

  std::vector<EditedLine> script() const {
    std::vector<EditedLine> reversed;
    int x = size(before_), y = size(after_);
    for (int changes = static_cast<int>(steps_.size()) - 1; changes >= 0; --changes) {
      const int* const reach = steps_[changes].data() + changes + 1;
      const int k = x - y;
      const int from_k = is_insertion(reach, k, changes) ? k + 1 : k - 1;
      const int start = changes == 0 ? 0 : start_of(reach, k, changes);
      while (x > start) {
        reversed.push_back({Edit::kSame, before_[--x]});
        --y;
      }
      if (changes == 0) break;
      if (from_k > k) {
        reversed.push_back({Edit::kAdded, after_[--y]});
      } else {
        reversed.push_back({Edit::kRemoved, before_[--x]});
      }
    }
    std::ranges::reverse(reversed);
    return reversed;
  }

 private:
  static int size(Lines lines) { return static_cast<int>(lines.size()); }
  static bool is_insertion(const int* reach, int k, int changes) {
    return k == -changes || (k != changes && reach[k - 1] < reach[k + 1]);
  }
  static int start_of(const int* reach, int k, int changes) {
    if (changes == 0) return 0;
    return is_insertion(reach, k, changes) ? reach[k + 1] : reach[k - 1] + 1;
  }

  Lines before_, after_;
  int offset_;
  std::vector<int> reach_;
  std::vector<std::vector<int>> steps_;
};

std::vector<EditedLine> edit_script(Lines before, Lines after) {
  const size_t shorter = std::min(before.size(), after.size());
  size_t begin = 0, end = 0;
  while (begin < shorter && before[begin] == after[begin]) ++begin;
  while (end < shorter - begin &&
         before[before.size() - 1 - end] == after[after.size() - 1 - end]) {
    ++end;
  }
  const Lines old_middle = before.subspan(begin, before.size() - begin - end);
  const Lines new_middle = after.subspan(begin, after.size() - begin - end);
  std::vector<EditedLine> script;
  append(script, Edit::kSame, before.first(begin));
  if (ShortestEdit edit(old_middle, new_middle); edit.find()) {
    std::ranges::copy(edit.script(), std::back_inserter(script));
  } else {
    append(script, Edit::kRemoved, old_middle);
    append(script, Edit::kAdded, new_middle);
  }
  append(script, Edit::kSame, before.last(end));
  return script;
}

std::string unified(const std::vector<EditedLine>& script) {
  std::vector<bool> is_shown(script.size());
  for (size_t i = 0; i < script.size(); ++i) {
    if (script[i].edit == Edit::kSame) continue;
    const size_t end = std::min(script.size(), i + kContext + 1);
    for (size_t near = i - std::min(i, kContext); near < end; ++near) is_shown[near] = true;
  }
  std::string text;
  int64_t old_line = 1, new_line = 1;
  for (size_t i = 0; i < script.size(); ++i) {
    if (is_shown[i]) {
      if (i == 0 || !is_shown[i - 1]) text += fmt::format("@@ -{} +{} @@\n", old_line, new_line);
      text += fmt::format("{}{}\n", static_cast<char>(script[i].edit), script[i].text);
    }
    old_line += script[i].edit != Edit::kAdded;
    new_line += script[i].edit != Edit::kRemoved;
  }
  return text;
}

FileDiff diff_file(const std::string& path, std::string_view before, std::string_view after) {
  const std::vector<std::string_view> old_lines = lines_of(before), new_lines = lines_of(after);
  const std::vector<EditedLine> script = edit_script(old_lines, new_lines);
  return {.path = path,
          .added = std::ranges::count(script, Edit::kAdded, &EditedLine::edit),
          .removed = std::ranges::count(script, Edit::kRemoved, &EditedLine::edit),
          .hunks = unified(script)};
}

}  // namespace

std::vector<FileDiff> diff_sources(const std::vector<SourceFile>& before,
                                   const std::vector<SourceFile>& after) {
  const auto content_in = [](const std::vector<SourceFile>& sources, const std::string& path) {
    const auto file = std::ranges::find(sources, path, &SourceFile::path);
    return file == sources.end() ? std::string_view() : std::string_view(file->content);
  };
  std::vector<FileDiff> diffs;
  for (const SourceFile& file : after) {
    const std::string_view old_content = content_in(before, file.path);
    if (old_content != file.content)
      diffs.push_back(diff_file(file.path, old_content, file.content));
  }
  for (const SourceFile& file : before) {
    const bool is_gone = std::ranges::find(after, file.path, &SourceFile::path) == after.end();
    if (is_gone) diffs.push_back(diff_file(file.path, file.content, {}));
  }
  return diffs;
}

}  // namespace fib::agents
