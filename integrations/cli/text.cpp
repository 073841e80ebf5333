#include "integrations/cli/text.h"

#include <fmt/format.h>

namespace fib {

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (true) {
    const size_t end = text.find(separator, begin);
    parts.emplace_back(text.substr(begin, end - begin));
    if (end == std::string_view::npos) return parts;
    begin = end + 1;
  }
}

std::string first_lines(std::string_view text, size_t count, std::string_view indent) {
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  if (text.empty()) return {};
  const std::vector<std::string> lines = split(text, '\n');
  std::string shown;
  for (size_t i = 0; i < lines.size() && i < count; ++i) {
    shown += fmt::format("{}{}\n", indent, lines[i]);
  }
  if (lines.size() > count) {
    shown += fmt::format("{}... {}\n", indent, counted(lines.size() - count, "more line"));
  }
  return shown;
}

std::string counted(int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

}  // namespace fib
