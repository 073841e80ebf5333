#include "agents/text.h"

#include <fmt/format.h>

#include <algorithm>

namespace fib {

std::string shortened(std::string_view text, const TextLimit& limit) {
  size_t end = 0, lines = 0;
  while (end < text.size() && lines < limit.lines) {
    const size_t line_end = std::min(text.find('\n', end), text.size() - 1) + 1;
    if (line_end > limit.bytes) break;
    end = line_end;
    ++lines;
  }
  if (end == text.size()) return std::string(text);
  if (end == 0) {  // one line that is too long by itself: cut where no character is broken
    end = std::min(limit.bytes, text.size());
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  }
  return fmt::format("{}... {} more bytes", text.substr(0, end), text.size() - end);
}

std::string time_in_words(double ns) {
  if (ns < 1e3) return fmt::format("{:.3g} ns", ns);
  if (ns < 1e6) return fmt::format("{:.4g} us", ns / 1e3);
  return fmt::format("{:.4g} ms", ns / 1e6);
}

std::string bytes_in_words(double bytes) {
  if (bytes < 1024.0) return fmt::format("{:.4g} bytes", bytes);
  if (bytes < 1024.0 * 1024.0) return fmt::format("{:.4g} KiB", bytes / 1024.0);
  if (bytes < 1024.0 * 1024.0 * 1024.0) return fmt::format("{:.4g} MiB", bytes / 1024.0 / 1024.0);
  return fmt::format("{:.4g} GiB", bytes / 1024.0 / 1024.0 / 1024.0);
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

}  // namespace fib
