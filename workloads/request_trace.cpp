#include "workloads/request_trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <limits>
#include <stdexcept>
#include <utility>

#include "signatures/base/json.h"
#include "signatures/base/text_file.h"

namespace fib {
namespace {

// No model reads or writes more; what is above is a damaged row.
constexpr int64_t kMostTokens = int64_t{1} << 31;

class TraceBuilder {
 public:
  explicit TraceBuilder(bool has_arrivals) { trace_.has_arrivals = has_arrivals; }

  // `time_s` is on the trace's own clock.
  Result<void> add(double time_s, TracedRequest request, const std::string& where) {
    if (trace_.requests.empty()) first_s_ = time_s;
    request.arrival_s = time_s - first_s_;
    if (!trace_.requests.empty() && request.arrival_s < trace_.requests.back().arrival_s) {
      return fail(ErrorCode::kInvalidInput, "is earlier than the request before", where,
                  "sort the trace by time");
    }
    trace_.requests.push_back(std::move(request));
    return {};
  }

  bool is_empty() const { return trace_.requests.empty(); }

  Result<RequestTrace> take(const std::filesystem::path& file) {
    if (!trace_.requests.empty()) return std::move(trace_);
    return fail(ErrorCode::kInvalidInput, "there are no requests in it", file.string());
  }

 private:
  RequestTrace trace_;
  double first_s_ = 0.0;
};

// ---- JSON lines ---------------------------------------------------------------------------------

Result<int64_t> read_length(const JsonView& row, std::string_view field, int64_t least) {
  const JsonView value = FIB_TRY(row.at(field));
  const int64_t length = FIB_TRY(value.integer());
  if (length >= least && length <= kMostTokens) return length;
  return value.error(fmt::format("'{}' is {}, not {} to {}", field, length, least, kMostTokens));
}

Result<std::vector<uint64_t>> read_blocks(const JsonView& row, int64_t input_tokens) {
  const JsonView value = FIB_TRY(row.at("hash_ids"));
  const std::vector<JsonView> ids = FIB_TRY(value.array());
  const int64_t blocks = (input_tokens + kPrefixBlockTokens - 1) / kPrefixBlockTokens;
  if (std::cmp_not_equal(ids.size(), blocks)) {
    return value.error(fmt::format("{} blocks of {} tokens don't make a prompt of {}", ids.size(),
                                   kPrefixBlockTokens, input_tokens));
  }
  std::vector<uint64_t> out;
  out.reserve(ids.size());
  for (const JsonView& id : ids) out.push_back(static_cast<uint64_t>(FIB_TRY(id.integer())));
  return out;
}

Result<RequestTrace> read_mooncake(std::string_view text, const std::filesystem::path& file) {
  TraceBuilder builder(/*has_arrivals=*/true);
  for (LineReader lines(text); lines.next();) {
    const std::string where = fmt::format("{}:{}", file.string(), lines.number());
    if (builder.is_empty() && lines.line().find_first_not_of(" \t{") == 0) {
      return fail(ErrorCode::kInvalidInput, "is not a line of JSON", where,
                  "is it another format's? azure and vidur are CSV");
    }
    const Json json = FIB_TRY(parse_json(lines.line(), where));
    const JsonView row(json, where);
    const JsonView timestamp = FIB_TRY(row.at("timestamp"));
    const double time_ms = FIB_TRY(timestamp.number());
    if (!(time_ms >= 0.0 && time_ms <= std::numeric_limits<double>::max())) {
      return timestamp.error("'timestamp' is no time in milliseconds");
    }
    TracedRequest request;
    request.input_tokens = FIB_TRY(read_length(row, "input_length", 1));
    request.output_tokens = FIB_TRY(read_length(row, "output_length", 0));
    request.prefix_blocks = FIB_TRY(read_blocks(row, request.input_tokens));
    FIB_CHECK(builder.add(time_ms / 1e3, std::move(request), timestamp.location()));
  }
  return builder.take(file);
}

// ---- CSV ----------------------------------------------------------------------------------------

// The fields that a reader wants of each row, by the header's names. No published trace quotes its
// fields, so a quote is damage like any other.
class CsvReader {
 public:
  static Result<CsvReader> open(std::string_view text, const std::filesystem::path& file,
                                std::vector<std::string_view> names) {
    CsvReader reader(text, file, std::move(names));
    constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
    if (!reader.lines_.next()) {
      return fail(ErrorCode::kInvalidInput, "is empty", file.string());
    }
    std::string_view header = reader.lines_.line();
    if (header.starts_with(kByteOrderMark)) header.remove_prefix(kByteOrderMark.size());
    const std::vector<std::string_view> columns = split(header);
    reader.num_columns_ = columns.size();
    for (const std::string_view name : reader.names_) {
      const auto found = std::find(columns.begin(), columns.end(), name);
      if (found == columns.end()) {
        return fail(ErrorCode::kInvalidInput, fmt::format("has no column '{}'", name),
                    fmt::format("{}:{}", file.string(), reader.lines_.number()),
                    fmt::format("its columns are '{}'; is it another format's?", header));
      }
      reader.columns_.push_back(static_cast<size_t>(found - columns.begin()));
    }
    return reader;
  }

  // False after the last row.
  Result<bool> next() {
    if (!lines_.next()) return false;
    fields_ = split(lines_.line());
    if (fields_.size() != num_columns_) {
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("{} fields, but the header has {}", fields_.size(), num_columns_),
                  fmt::format("{}:{}", file_, lines_.number()));
    }
    return true;
  }

  std::string_view field(size_t i) const { return fields_[columns_[i]]; }
  std::string where(size_t i) const {
    return fmt::format("{}:{}: {}", file_, lines_.number(), names_[i]);
  }
  Result<int64_t> length(size_t i, int64_t least) const {
    const std::string_view text = field(i);
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size() && value >= least &&
        value <= kMostTokens) {
      return value;
    }
    return fail(ErrorCode::kInvalidInput,
                fmt::format("'{}' is no number from {} to {}", text, least, kMostTokens), where(i));
  }

 private:
  CsvReader(std::string_view text, const std::filesystem::path& file,
            std::vector<std::string_view> names)
      : lines_(text), file_(file.string()), names_(std::move(names)) {}

  static std::vector<std::string_view> split(std::string_view line) {
    std::vector<std::string_view> fields;
    for (size_t end; (end = line.find(',')) != line.npos; line.remove_prefix(end + 1)) {
      fields.push_back(line.substr(0, end));
    }
    fields.push_back(line);
    return fields;
  }

  LineReader lines_;
  std::string file_;
  std::vector<std::string_view> names_;
  std::vector<size_t> columns_;  // of the names
  size_t num_columns_ = 0;
  std::vector<std::string_view> fields_;
};

// Seconds since 1970 of "2023-11-16 18:17:03.9799600", with or without the fraction; nullopt for
// anything else. Later Azure traces add a "+00:00", which says the same.
std::optional<double> parse_time(std::string_view text) {
  if (text.ends_with("+00:00")) text.remove_suffix(6);
  const auto number = [&](size_t at, size_t digits) {  // -1: not only digits
    int value = 0;
    for (size_t i = at; i < at + digits; ++i) {
      if (i >= text.size() || text[i] < '0' || text[i] > '9') return -1;
      value = 10 * value + (text[i] - '0');
    }
    return value;
  };
  constexpr std::array<std::pair<size_t, char>, 5> kMarks = {
      {{4, '-'}, {7, '-'}, {10, ' '}, {13, ':'}, {16, ':'}}};
  for (const auto& [at, mark] : kMarks) {
    if (text.size() <= at || text[at] != mark) return std::nullopt;
  }
  const int year = number(0, 4);
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(number(5, 2))),
                                         std::chrono::day(static_cast<unsigned>(number(8, 2)))};
  const int hour = number(11, 2), minute = number(14, 2), second = number(17, 2);
  if (year < 0 || !date.ok() || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 ||
      second > 60) {
    return std::nullopt;
  }
  double fraction = 0.0;
  if (std::string_view rest = text.substr(19); !rest.empty()) {
    if (rest[0] != '.' || rest.size() < 2) return std::nullopt;
    double unit = 0.1;
    for (const char digit : rest.substr(1)) {
      if (digit < '0' || digit > '9') return std::nullopt;
      fraction += unit * (digit - '0');
      unit /= 10;
    }
  }
  const auto days = std::chrono::sys_days(date).time_since_epoch().count();
  return static_cast<double>(days) * 86400.0 + hour * 3600.0 + minute * 60.0 + second + fraction;
}

Result<RequestTrace> read_azure(std::string_view text, const std::filesystem::path& file) {
  CsvReader rows =
      FIB_TRY(CsvReader::open(text, file, {"TIMESTAMP", "ContextTokens", "GeneratedTokens"}));
  TraceBuilder builder(/*has_arrivals=*/true);
  while (FIB_TRY(rows.next())) {
    const auto time_s = parse_time(rows.field(0));
    if (!time_s) {
      return fail(ErrorCode::kInvalidInput, fmt::format("'{}' is no time", rows.field(0)),
                  rows.where(0), "2023-11-16 18:17:03.9799600");
    }
    TracedRequest request;
    request.input_tokens = FIB_TRY(rows.length(1, 1));
    request.output_tokens = FIB_TRY(rows.length(2, 0));
    FIB_CHECK(builder.add(*time_s, std::move(request), rows.where(0)));
  }
  return builder.take(file);
}

Result<RequestTrace> read_vidur(std::string_view text, const std::filesystem::path& file) {
  CsvReader rows =
      FIB_TRY(CsvReader::open(text, file, {"num_prefill_tokens", "num_decode_tokens"}));
  TraceBuilder builder(/*has_arrivals=*/false);
  while (FIB_TRY(rows.next())) {
    TracedRequest request;
    request.input_tokens = FIB_TRY(rows.length(0, 1));
    request.output_tokens = FIB_TRY(rows.length(1, 0));
    FIB_CHECK(builder.add(0.0, std::move(request), rows.where(0)));
  }
  return builder.take(file);
}

}  // namespace

std::optional<TraceFormat> trace_format_from_name(std::string_view name) {
  if (name == "mooncake") return TraceFormat::kMooncake;
  if (name == "azure") return TraceFormat::kAzure;
  if (name == "vidur") return TraceFormat::kVidur;
  return std::nullopt;
}

Result<RequestTrace> read_request_trace(const std::filesystem::path& file, TraceFormat format) {
  const std::string text = FIB_TRY(read_text_file(file));
  switch (format) {
    case TraceFormat::kMooncake: return read_mooncake(text, file);
    case TraceFormat::kAzure: return read_azure(text, file);
    case TraceFormat::kVidur: return read_vidur(text, file);
  }
  throw std::logic_error("a trace format without a reader");
}

}  // namespace fib
