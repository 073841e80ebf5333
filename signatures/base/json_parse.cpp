// Parsing. The grammar is nlohmann's; what it lets pass (duplicate keys, NUL as an end of text,
// any depth) is refused here, and errors get a line and a column.

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <optional>
#include <vector>

#include "signatures/base/file.h"
#include "signatures/base/json.h"

namespace fib {
namespace {

constexpr size_t kDeepestNesting = 256;

// Reads the text for nlohmann's lexer and lets the handler see how far it has got.
struct TrackedIterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* at;
  const char** latest;

  reference operator*() const { return *at; }
  TrackedIterator& operator++() {
    *latest = ++at;
    return *this;
  }
  TrackedIterator operator++(int) {
    TrackedIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const TrackedIterator& other) const { return at == other.at; }
  bool operator!=(const TrackedIterator& other) const { return at != other.at; }
};

struct ParseError {
  std::string message;
  size_t offset = 0;
};

// Builds the value. Members are collected in plain vectors and moved into the object when it
// closes: nlohmann's ordered map would search all keys for each insertion, and copy them all,
// values included, each time it grows. (A tokenizer's vocabulary has 150,000 keys.)
class Builder : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(std::string_view text) : text_(text), latest_(text.data()) {}

  const char** latest() { return &latest_; }
  std::optional<ParseError> take_error() { return std::move(error_); }
  Json take_root() { return std::move(root_); }

  bool null() override { return add(Json(nullptr)); }
  bool boolean(bool value) override { return add(Json(value)); }
  bool number_integer(int64_t value) override { return add(Json(value)); }
  bool number_unsigned(uint64_t value) override { return add(Json(value)); }
  bool number_float(double value, const std::string&) override { return add(Json(value)); }
  bool string(std::string& value) override { return add(Json(std::move(value))); }
  bool binary(Json::binary_t&) override { return false; }  // not part of JSON text

  bool start_object(size_t) override { return open(); }
  bool start_array(size_t) override { return open(); }

  bool key(std::string& value) override {
    frames_.back().keys.push_back({std::move(value), offset()});
    return true;
  }

  bool end_array() override {
    Frame frame = close();
    Json array = Json::array();
    array.get_ref<Json::array_t&>() = std::move(frame.values);
    return add(std::move(array));
  }

  bool end_object() override {
    Frame frame = close();
    if (!check_unique(frame.keys)) return false;
    Json value = Json::object();
    auto& object = value.get_ref<Json::object_t&>();
    object.reserve(frame.keys.size());
    for (size_t i = 0; i < frame.keys.size(); ++i)
      object.emplace_back(std::move(frame.keys[i].name), std::move(frame.values[i]));
    return add(std::move(value));
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception& exception) override {
    // nlohmann counts the character it choked on; at the end of the text that is one past it.
    const size_t offset = std::min(position > 0 ? position - 1 : 0, text_.size());
    error_ = ParseError{plain_message(exception.what()), offset};
    return false;
  }

 private:
  struct Key {
    std::string name;
    size_t end;  // just after the closing quote
  };
  struct Frame {
    std::vector<Key> keys;  // empty for an array
    std::vector<Json> values;
  };

  size_t offset() const { return static_cast<size_t>(latest_ - text_.data()); }

  bool add(Json value) {
    if (frames_.empty()) {
      root_ = std::move(value);
    } else {
      frames_.back().values.push_back(std::move(value));
    }
    return true;
  }

  bool open() {
    if (frames_.size() == kDeepestNesting) {
      error_ =
          ParseError{fmt::format("nested deeper than {} levels", kDeepestNesting), offset() - 1};
      return false;
    }
    frames_.emplace_back();
    return true;
  }

  Frame close() {
    Frame frame = std::move(frames_.back());
    frames_.pop_back();
    return frame;
  }

  // Sets the error for the first key in the text that repeats an earlier one.
  bool check_unique(const std::vector<Key>& keys) {
    std::vector<const Key*> sorted;
    sorted.reserve(keys.size());
    for (const Key& key : keys) sorted.push_back(&key);
    std::ranges::sort(sorted, {}, [](const Key* key) {
      return std::pair(std::string_view(key->name), key->end);
    });
    const Key* repeated = nullptr;
    for (size_t i = 1; i < sorted.size(); ++i) {
      if (sorted[i]->name != sorted[i - 1]->name) continue;
      if (!repeated || sorted[i]->end < repeated->end) repeated = sorted[i];
    }
    if (!repeated) return true;
    error_ = ParseError{fmt::format("duplicate key '{}'", repeated->name),
                        start_of_string(repeated->end)};
    return false;
  }

  // The opening quote of the string that ends before `end`: the nearest quote to the left that no
  // odd run of backslashes escapes.
  size_t start_of_string(size_t end) const {
    size_t at = end - 1;
    while (true) {
      at = text_.rfind('"', at - 1);
      size_t backslashes = 0;
      while (at > backslashes && text_[at - 1 - backslashes] == '\\') ++backslashes;
      if (backslashes % 2 == 0) return at;
    }
  }

  // "[json.exception.parse_error.101] parse error at line 1, column 5: syntax error ..." without
  // the prefix (the place is told in our own words) and without most of a long token.
  static std::string plain_message(std::string_view what) {
    if (const size_t bracket = what.find("] "); bracket != what.npos)
      what.remove_prefix(bracket + 2);
    if (what.starts_with("parse error at"))
      if (const size_t colon = what.find(": "); colon != what.npos) what.remove_prefix(colon + 2);
    constexpr size_t kKept = 120;
    if (what.size() <= 2 * kKept) return std::string(what);
    return fmt::format("{} [...] {}", what.substr(0, kKept), what.substr(what.size() - kKept));
  }

  std::string_view text_;
  const char* latest_;
  std::vector<Frame> frames_;
  Json root_;
  std::optional<ParseError> error_;
};

// "line:column". Both count from 1; a column is a character, not a byte.
std::string place(std::string_view text, size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const auto line = 1 + std::ranges::count(before, '\n');
  const size_t newline = before.rfind('\n');
  const std::string_view row = newline == before.npos ? before : before.substr(newline + 1);
  const auto column = 1 + std::ranges::count_if(row, [](char c) { return (c & 0xc0) != 0x80; });
  return fmt::format("{}:{}", line, column);
}

}  // namespace

Result<Json> parse_json(std::string_view text, std::string_view where) {
  const auto refuse = [&](const ParseError& error) {
    return fail(ErrorCode::kInvalidInput, error.message,
                fmt::format("{}:{}", where, place(text, error.offset)));
  };
  if (text.data() == nullptr) text = "";
  // The lexer takes a NUL for the end of the text and would not look at what follows it.
  if (const size_t nul = text.find('\0'); nul != text.npos)
    return refuse({"a NUL character is not allowed in JSON", nul});

  Builder builder(text);
  const TrackedIterator first{text.data(), builder.latest()};
  const TrackedIterator last{text.data() + text.size(), builder.latest()};
  Json::sax_parse(first, last, &builder);
  if (const std::optional<ParseError> error = builder.take_error()) return refuse(*error);
  return builder.take_root();
}

Result<Json> read_json_file(const std::filesystem::path& file) {
  const std::string text = FIB_TRY(read_file(file));
  return parse_json(text, file.string());
}

}  // namespace fib
