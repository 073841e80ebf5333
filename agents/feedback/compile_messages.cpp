#include "agents/feedback/compile_messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <tuple>
#include <utility>

#include "agents/text.h"

namespace fib::agents {

namespace {

using Severity = CompileMessage::Severity;

constexpr size_t kMostErrors = 6;
constexpr size_t kMostWarnings = 4;
constexpr size_t kMostNotes = 3;
constexpr TextLimit kMessageLimit{.lines = 3, .bytes = 400};
constexpr TextLimit kSourceLineLimit{.lines = 1, .bytes = 160};
constexpr TextLimit kUnreadLimit{.lines = 20, .bytes = 2000};
constexpr int64_t kLinesAround = 1;

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// The author's files are named as in the solution; of others the last two parts are enough, and
// where they lie on this machine is nobody's business.
std::string file_name(std::string_view path) {
  if (!path.starts_with('/')) {
    return std::string(path.starts_with("./") ? path.substr(2) : path);
  }
  const std::filesystem::path whole(path);
  return (whole.parent_path().filename() / whole.filename()).string();
}

struct Place {
  std::string file;
  int64_t line = 0, column = 0;
};

// "kernel.cpp:12:5", "kernel.cpp:12", "kernel.cpp:(.text+0xa)".
Place gcc_place(std::string_view text) {
  Place place;
  const auto take_number = [&text]() -> int64_t {
    const size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return 0;
    const auto number = whole_number(text.substr(colon + 1));
    if (number) text = text.substr(0, colon);
    return number.value_or(0);
  };
  const int64_t last = take_number();
  const int64_t before = last > 0 ? take_number() : 0;
  place.line = before > 0 ? before : last;
  place.column = before > 0 ? last : 0;
  if (const size_t section = text.find(":("); section != std::string_view::npos) {
    text = text.substr(0, section);
  }
  place.file = file_name(text);
  return place;
}

CompileMessage message_at(Severity severity, Place place, std::string_view text) {
  return {.severity = severity,
          .file = std::move(place.file),
          .line = place.line,
          .column = place.column,
          .text = shortened(trimmed(text), kMessageLimit)};
}

// "kernel.cpp:12:5: error: ..."
std::optional<CompileMessage> read_gcc(std::string_view line) {
  static constexpr std::pair<std::string_view, Severity> kKinds[] = {
      {": fatal error: ", Severity::kError},
      {": error: ", Severity::kError},
      {": warning: ", Severity::kWarning}};
  for (const auto& [mark, severity] : kKinds) {
    const size_t at = line.find(mark);
    if (at == std::string_view::npos) continue;
    Place place = gcc_place(line.substr(0, at));
    if (place.line == 0) place.file.clear();  // "g++: fatal error: ..."
    return message_at(severity, std::move(place), line.substr(at + mark.size()));
  }
  return std::nullopt;
}

// "kernel.cu(12): error: ...", "kernel.cu(12): warning #177-D: ..."
std::optional<CompileMessage> read_nvrtc(std::string_view line) {
  static constexpr std::pair<std::string_view, Severity> kKinds[] = {
      {"): error", Severity::kError},
      {"): catastrophic error", Severity::kError},
      {"): warning", Severity::kWarning}};
  for (const auto& [mark, severity] : kKinds) {
    const size_t at = line.find(mark);
    if (at == std::string_view::npos) continue;
    const size_t open = line.rfind('(', at);
    const size_t colon = line.find(": ", at + mark.size());
    if (open == std::string_view::npos || colon == std::string_view::npos) continue;
    const auto number = whole_number(line.substr(open + 1, at - open - 1));
    if (!number) continue;
    return message_at(severity, {.file = file_name(line.substr(0, open)), .line = *number},
                      line.substr(colon + 2));
  }
  return std::nullopt;
}

// "ptxas error   : Entry function 'x' uses too much shared data (0x20000 bytes, 0xc000 max)",
// "ptxas kernel.ptx, line 12; error   : ...". Its information is only kept where it costs time.
std::optional<CompileMessage> read_ptxas(std::string_view line) {
  if (!line.starts_with("ptxas")) return std::nullopt;
  const size_t colon = line.find(" : ");
  if (colon == std::string_view::npos) return std::nullopt;
  const std::string_view head = line.substr(0, colon), text = line.substr(colon + 3);
  if (contains(head, "error") || contains(head, "fatal")) {
    return message_at(Severity::kError, {}, fmt::format("ptxas: {}", text));
  }
  if (contains(head, "warning") || contains(text, "Performance Loss") ||
      contains(text, "warpgroup.wait is injected")) {
    return message_at(Severity::kWarning, {}, fmt::format("ptxas: {}", text));
  }
  return std::nullopt;
}

// The linker's, and what fib's own builders say (runners/).
std::optional<CompileMessage> read_unplaced(std::string_view line) {
  for (const std::string_view mark : {"undefined reference to ", "multiple definition of "}) {
    const size_t at = line.find(mark);
    if (at == std::string_view::npos) continue;
    Place place = gcc_place(line.substr(0, line.substr(0, at).rfind(": ")));
    if (place.line == 0) place.file.clear();  // of an object file: its name says nothing
    return message_at(Severity::kError, std::move(place), line.substr(at));
  }
  for (const std::string_view mark :
       {": no kernel '", ": not compiled after ", ": the compiler crashed", " took longer than ",
        " killed by signal "}) {
    if (contains(line, mark)) return message_at(Severity::kError, {}, line);
  }
  for (const std::string_view mark :
       {" bytes spilled a thread", " bytes of local memory a thread"}) {
    if (contains(line, mark)) return message_at(Severity::kWarning, {}, line);
  }
  return std::nullopt;
}

std::optional<CompileMessage> read_message(std::string_view line) {
  for (const auto& read : {read_ptxas, read_nvrtc, read_gcc, read_unplaced}) {
    if (auto message = read(line)) return message;
  }
  return std::nullopt;
}

// Said before the message: how a template came to be instantiated.
bool leads_to_a_message(std::string_view line) {
  return contains(line, ":   required from ") || contains(line, ":   required by ");
}

// Said after it.
bool belongs_to_a_message(std::string_view line) {
  return contains(line, ": note: ") || trimmed(line).starts_with("detected during") ||
         trimmed(line).starts_with("instantiation of ");
}

std::string as_note(std::string_view line) {
  const size_t place_end = line.find(": ");
  if (!line.starts_with('/') || place_end == std::string_view::npos) {
    return shortened(trimmed(line), kMessageLimit);
  }
  const Place place = gcc_place(line.substr(0, place_end));
  return shortened(
      fmt::format("{}:{}: {}", place.file, place.line, trimmed(line.substr(place_end + 2))),
      kMessageLimit);
}

bool is_the_same(const CompileMessage& a, const CompileMessage& b) {
  return std::tie(a.severity, a.file, a.line, a.text) ==
         std::tie(b.severity, b.file, b.line, b.text);
}

// Errors, then what is said of the code that came out (spills, serialised instructions), which has
// no place in the sources, then warnings of the sources.
int urgency(const CompileMessage& message) {
  if (message.severity == Severity::kError) return 0;
  return message.file.empty() ? 1 : 2;
}

// "    11 | before\n  > 12 | the line\n    13 | behind\n"; empty where it isn't the author's file.
std::string quoted_source(const CompileMessage& message, const std::vector<SourceFile>& sources) {
  const auto file = std::ranges::find(sources, message.file, &SourceFile::path);
  if (file == sources.end()) return {};
  const std::vector<std::string_view> lines = lines_of(file->content);
  const int64_t count = static_cast<int64_t>(lines.size());
  if (message.line < 1 || message.line > count) return {};
  std::string text;
  for (int64_t line = std::max<int64_t>(1, message.line - kLinesAround);
       line <= std::min(count, message.line + kLinesAround); ++line) {
    text += fmt::format("{} {:>4} | {}\n", line == message.line ? ">" : " ", line,
                        shortened(lines[static_cast<size_t>(line - 1)], kSourceLineLimit));
  }
  return text;
}

Json message_to_json(const CompileMessage& message, const std::vector<SourceFile>& sources) {
  Json json{{"severity", message.severity == Severity::kError ? "error" : "warning"}};
  if (!message.file.empty()) {
    json["file"] = message.file;
    json["line"] = message.line;
    if (message.column > 0) json["column"] = message.column;
  }
  json["text"] = message.text;
  if (!message.notes.empty()) json["notes"] = message.notes;
  const std::string source = quoted_source(message, sources);
  if (!source.empty()) json["source"] = source;
  return json;
}

}  // namespace

std::vector<CompileMessage> read_compile_log(std::string_view log) {
  std::vector<CompileMessage> messages;
  std::vector<std::string> leading;
  bool is_kept = false;  // the message that notes belong to
  for (const std::string_view line : lines_of(log)) {
    if (auto message = read_message(line)) {
      message->notes = std::exchange(leading, {});
      is_kept = std::ranges::none_of(
          messages, [&](const CompileMessage& known) { return is_the_same(known, *message); });
      if (is_kept) messages.push_back(*std::move(message));
    } else if (leads_to_a_message(line)) {
      if (leading.size() < kMostNotes) leading.push_back(as_note(line));
    } else if (is_kept && belongs_to_a_message(line)) {
      std::vector<std::string>& notes = messages.back().notes;
      if (notes.size() < kMostNotes) notes.push_back(as_note(line));
    }
  }
  // The linker's last word says only that it failed.
  if (messages.size() > 1) {
    std::erase_if(messages, [](const CompileMessage& message) {
      return message.text.starts_with("ld returned ");
    });
  }
  return messages;
}

Json compile_log_to_json(std::string_view log, const std::vector<SourceFile>& sources) {
  if (trimmed(log).empty()) return nullptr;
  std::vector<CompileMessage> messages = read_compile_log(log);
  if (messages.empty()) return {{"text", shortened(log, kUnreadLimit)}};
  std::ranges::stable_sort(messages, {}, urgency);
  const bool has_errors = messages.front().severity == Severity::kError;
  const size_t most = has_errors ? kMostErrors : kMostWarnings;
  Json list = Json::array();
  for (const CompileMessage& message : messages) {
    if (list.size() == most || (has_errors && message.severity != Severity::kError)) break;
    list.push_back(message_to_json(message, sources));
  }
  const size_t omitted = messages.size() - list.size();
  return {{"messages", std::move(list)}, {"omitted", omitted}};
}

}  // namespace fib::agents
