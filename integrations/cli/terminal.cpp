#include "integrations/cli/terminal.h"

#include <fmt/format.h>

#include <algorithm>
#include <ostream>

namespace fib {

namespace {

// Longer progress lines would wrap and couldn't be written over.
constexpr size_t kProgressWidth = 78;

std::string clip(std::string_view text, size_t width) {
  std::string clipped;
  size_t columns = 0;
  for (char c : text) {
    if ((static_cast<unsigned char>(c) & 0xc0) != 0x80 && columns++ == width) break;
    clipped += c;
  }
  return clipped;
}

}  // namespace

std::string Style::paint(std::string_view code, std::string_view text) const {
  if (colors_ == Colors::kOff || text.empty()) return std::string(text);
  return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

size_t display_width(std::string_view text) {
  size_t width = 0;
  bool in_escape = false;
  for (char c : text) {
    if (in_escape) {
      in_escape = c != 'm';
    } else if (c == '\x1b') {
      in_escape = true;
    } else if ((static_cast<unsigned char>(c) & 0xc0) != 0x80) {
      ++width;
    }
  }
  return width;
}

std::string pad(std::string_view text, size_t width, Align align) {
  const size_t taken = display_width(text);
  const std::string spaces(width > taken ? width - taken : 0, ' ');
  return align == Align::kRight ? spaces + std::string(text) : std::string(text) + spaces;
}

void Table::add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

void Table::print(std::ostream& out, const Style& style, std::string_view indent) const {
  std::vector<size_t> widths;
  for (const Column& column : columns_) widths.push_back(display_width(column.title));
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], display_width(row[i]));
  }
  const auto line = [&](const auto& cell_of, size_t cells) {
    std::string text(indent);
    for (size_t i = 0; i < cells; ++i) {
      if (i > 0) text += "  ";
      text += pad(cell_of(i), widths[i], columns_[i].align);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    return text + "\n";
  };
  const bool has_titles = std::any_of(columns_.begin(), columns_.end(),
                                      [](const Column& column) { return !column.title.empty(); });
  if (has_titles) {
    out << line([&](size_t i) { return style.dim(columns_[i].title); }, columns_.size());
  }
  for (const auto& row : rows_) out << line([&](size_t i) { return row[i]; }, row.size());
}

void ProgressLine::show(std::string_view text) {
  if (interactivity_ == Interactivity::kPipe) return;
  out_ << "\r\x1b[K" << clip(text, kProgressWidth) << std::flush;
  is_shown_ = true;
}

void ProgressLine::clear() {
  if (is_shown_) out_ << "\r\x1b[K" << std::flush;
  is_shown_ = false;
}

}  // namespace fib
