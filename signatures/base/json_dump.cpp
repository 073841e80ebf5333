// Writing, in the spelling of Python's json.dumps(ensure_ascii=False).

#include <array>
#include <charconv>
#include <cmath>
#include <stdexcept>

#include "signatures/base/json.h"
#include "signatures/base/utf8.h"

namespace fib {
namespace {

enum class Layout { kCompact, kIndented };

class Dumper {
 public:
  explicit Dumper(Layout layout) : layout_(layout) {}

  std::string take() { return std::move(text_); }

  void write(const Json& value) {
    switch (value.type()) {
      case Json::value_t::null:
      case Json::value_t::discarded: text_ += "null"; break;
      case Json::value_t::boolean: text_ += value.get<bool>() ? "true" : "false"; break;
      case Json::value_t::number_integer: write_number(value.get<int64_t>()); break;
      case Json::value_t::number_unsigned: write_number(value.get<uint64_t>()); break;
      case Json::value_t::number_float: write_float(value.get<double>()); break;
      case Json::value_t::string: write_string(value.get_ref<const std::string&>()); break;
      case Json::value_t::array: write_array(value); break;
      case Json::value_t::object: write_object(value); break;
      case Json::value_t::binary: throw std::logic_error("binary values have no JSON text");
    }
  }

 private:
  void write_array(const Json& array) {
    text_ += '[';
    ++depth_;
    const char* separator = "";
    for (const Json& element : array) {
      text_ += separator;
      separator = ",";
      new_line();
      write(element);
    }
    --depth_;
    if (!array.empty()) new_line();
    text_ += ']';
  }

  void write_object(const Json& object) {
    text_ += '{';
    ++depth_;
    const char* separator = "";
    for (const auto& [key, value] : object.get_ref<const Json::object_t&>()) {
      text_ += separator;
      separator = ",";
      new_line();
      write_string(key);
      text_ += layout_ == Layout::kIndented ? ": " : ":";
      write(value);
    }
    --depth_;
    if (!object.empty()) new_line();
    text_ += '}';
  }

  void new_line() {
    if (layout_ == Layout::kCompact) return;
    text_ += '\n';
    text_.append(2 * depth_, ' ');
  }

  template <class T>
  void write_number(T value) {
    std::array<char, 24> digits;
    const auto end = std::to_chars(digits.begin(), digits.end(), value).ptr;
    text_.append(digits.begin(), end);
  }

  // Python's repr: the shortest digits that read back the same, plain from 1e-4 up to 1e16 and
  // always with a point there; with an exponent of at least two digits elsewhere. What JSON has no
  // number for is a string, as in the trace format.
  void write_float(double value) {
    if (std::isnan(value)) {
      text_ += "\"NaN\"";
    } else if (std::isinf(value)) {
      text_ += value > 0 ? "\"Infinity\"" : "\"-Infinity\"";
    } else {
      const double magnitude = std::abs(value);
      const bool plain = magnitude == 0 || (magnitude >= 1e-4 && magnitude < 1e16);
      const auto format = plain ? std::chars_format::fixed : std::chars_format::scientific;
      std::array<char, 32> digits;
      const auto end = std::to_chars(digits.begin(), digits.end(), value, format).ptr;
      const std::string_view spelled(digits.begin(), end);
      text_ += spelled;
      if (plain && spelled.find('.') == spelled.npos) text_ += ".0";
    }
  }

  void write_string(std::string_view value) {
    text_ += '"';
    while (!value.empty()) {
      const size_t length = utf8_length(value);
      if (length == 0) {  // compiler logs and the like can hold any byte
        text_ += kReplacementCharacter;
        value.remove_prefix(1);
        continue;
      }
      if (length == 1) {
        write_ascii(value.front());
      } else {
        text_ += value.substr(0, length);
      }
      value.remove_prefix(length);
    }
    text_ += '"';
  }

  void write_ascii(char c) {
    switch (c) {
      case '"': text_ += "\\\""; return;
      case '\\': text_ += "\\\\"; return;
      case '\n': text_ += "\\n"; return;
      case '\r': text_ += "\\r"; return;
      case '\t': text_ += "\\t"; return;
      case '\f': text_ += "\\f"; return;
      case '\b': text_ += "\\b"; return;
      default: break;
    }
    if (static_cast<unsigned char>(c) >= 0x20) {
      text_ += c;
      return;
    }
    constexpr char kDigits[] = "0123456789abcdef";
    text_ += "\\u00";
    text_ += kDigits[c >> 4];
    text_ += kDigits[c & 15];
  }

  const Layout layout_;
  size_t depth_ = 0;
  std::string text_;
};

std::string dump(const Json& value, Layout layout) {
  Dumper dumper(layout);
  dumper.write(value);
  return dumper.take();
}

}  // namespace

std::string dump_json(const Json& value) { return dump(value, Layout::kCompact); }
std::string dump_json_pretty(const Json& value) { return dump(value, Layout::kIndented); }

}  // namespace fib
