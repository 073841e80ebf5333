#pragma once

// Colours, tables and the one progress line.

#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

namespace fib {

// Paints text, or leaves it as it is.
class Style {
 public:
  enum class Colors { kOff, kOn };
  Style() = default;
  explicit Style(Colors colors) : colors_(colors) {}
  std::string bold(std::string_view text) const { return paint("1", text); }
  std::string dim(std::string_view text) const { return paint("2", text); }
  std::string red(std::string_view text) const { return paint("31", text); }
  std::string green(std::string_view text) const { return paint("32", text); }
  std::string yellow(std::string_view text) const { return paint("33", text); }

 private:
  std::string paint(std::string_view code, std::string_view text) const;
  Colors colors_ = Colors::kOff;
};

// Columns that a text takes on a terminal: code points, escape sequences left out.
size_t display_width(std::string_view text);
enum class Align { kLeft, kRight };
std::string pad(std::string_view text, size_t width, Align align);

// Rows are collected, columns are as wide as their widest cell; two spaces between them.
class Table {
 public:
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<std::string> cells);
  void print(std::ostream& out, const Style& style, std::string_view indent = "") const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

enum class Interactivity { kPipe, kTerminal };

// One line that is written over, on a terminal; nothing at all in a pipe.
class ProgressLine {
 public:
  ProgressLine(std::ostream& out, Interactivity interactivity)
      : out_(out), interactivity_(interactivity) {}
  ~ProgressLine() { clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  void show(std::string_view text);
  void clear();  // before anything else is printed

 private:
  std::ostream& out_;
  Interactivity interactivity_;
  bool is_shown_ = false;
};

}  // namespace fib
