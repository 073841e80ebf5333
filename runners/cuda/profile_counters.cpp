#include "runners/cuda/profile_counters.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace fib {

namespace {

namespace fs = std::filesystem;

constexpr const char* kDeviceBytes = "dram__bytes.sum";
constexpr const char* kOccupancy = "sm__warps_active.avg.pct_of_peak_sustained_active";
constexpr const char* kTheoretical = "sm__maximum_warps_per_active_cycle_pct";
constexpr const char* kBankConflicts = "l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum";

// Warps by what they wait for, per instruction issued; "selected" are those that don't.
constexpr std::string_view kStallBegin = "smsp__average_warps_issue_stalled_";
constexpr std::string_view kStallEnd = "_per_issue_active.ratio";
constexpr const char* kStallReasons[] = {"barrier",
                                         "branch_resolving",
                                         "dispatch_stall",
                                         "drain",
                                         "imc_miss",
                                         "lg_throttle",
                                         "long_scoreboard",
                                         "math_pipe_throttle",
                                         "membar",
                                         "mio_throttle",
                                         "misc",
                                         "no_instruction",
                                         "not_selected",
                                         "selected",
                                         "short_scoreboard",
                                         "sleeping",
                                         "tex_throttle",
                                         "wait"};
constexpr const char* kNoStall = "selected";

constexpr int kLaunches = 16;  // looked at, of each kernel's name; the first is read
constexpr const char* kKernelColumn = "Kernel Name";

std::vector<std::string> metric_names() {
  std::vector<std::string> names = {kDeviceBytes, kOccupancy, kTheoretical, kBankConflicts};
  for (const char* reason : kStallReasons) {
    names.push_back(fmt::format("{}{}{}", kStallBegin, reason, kStallEnd));
  }
  return names;
}

// A row of quoted or plain cells; doubled quotes stand for one.
Result<std::vector<std::string>> read_row(std::string_view line, size_t number) {
  std::vector<std::string> cells(1);
  bool is_quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == '"' && is_quoted && i + 1 < line.size() && line[i + 1] == '"') {
      cells.back().push_back(line[++i]);
    } else if (c == '"') {
      is_quoted = !is_quoted;
    } else if (c == ',' && !is_quoted) {
      cells.emplace_back();
    } else {
      cells.back().push_back(c);
    }
  }
  if (is_quoted) {
    return fail(ErrorCode::kInvalidInput, "a quote without its end",
                fmt::format("ncu's report:{}", number));
  }
  return cells;
}

struct Table {
  std::vector<std::string> columns, units;
  std::vector<std::vector<std::string>> rows;

  std::optional<size_t> column(std::string_view name) const {
    const auto found = std::ranges::find(columns, name);
    if (found == columns.end()) return std::nullopt;
    return static_cast<size_t>(found - columns.begin());
  }
};

// ncu's own messages, "==ERROR== ...", and the table.
struct Report {
  std::vector<std::string> errors, warnings;
  Table table;
};

Result<Report> read_report(std::string_view text) {
  Report report;
  size_t number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("==ERROR== ")) report.errors.emplace_back(line.substr(10));
    if (line.starts_with("==WARNING== ")) report.warnings.emplace_back(line.substr(12));
    const bool is_table = line.starts_with('"') || line.starts_with("ID,");
    if (!is_table) continue;
    std::vector<std::string> cells = FIB_TRY(read_row(line, number));
    Table& table = report.table;
    if (!table.columns.empty() && cells.size() != table.columns.size()) {
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("{} cells below {} columns", cells.size(), table.columns.size()),
                  fmt::format("ncu's report:{}", number));
    }
    if (table.columns.empty()) {
      table.columns = std::move(cells);
    } else if (table.units.empty()) {
      table.units = std::move(cells);
    } else {
      table.rows.push_back(std::move(cells));
    }
  }
  return report;
}

Failure nothing_profiled(const Report& report) {
  for (const std::string& error : report.errors) {
    if (error.find("ERR_NVGPUCTRPERM") == std::string::npos) continue;
    return fail(ErrorCode::kEnvironment, "this user may not read the device's counters", "ncu",
                "load the driver with NVreg_RestrictProfilingToAdminUsers=0, or run as root "
                "(https://developer.nvidia.com/ERR_NVGPUCTRPERM)");
  }
  const std::string reason = !report.errors.empty()     ? report.errors.front()
                             : !report.warnings.empty() ? report.warnings.front()
                                                        : "its report holds no table";
  return fail(ErrorCode::kInvalidInput, "no kernel was profiled: " + reason, "ncu");
}

// "1,234.5" is a number; "n/a" and "nan" are none.
std::optional<double> read_number(std::string text) {
  std::erase(text, ',');
  if (text.empty()) return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (*end != '\0' || !std::isfinite(value)) return std::nullopt;
  return value;
}

// What `--print-units base` promises, and how ncu spells it elsewhere.
std::optional<double> factor_of(std::string_view unit) {
  static constexpr std::pair<std::string_view, double> kFactors[] = {
      {"", 1.0},   {"byte", 1.0}, {"Kbyte", 1e3}, {"Mbyte", 1e6}, {"Gbyte", 1e9},
      {"%", 0.01}, {"inst", 1.0}, {"warp", 1.0},  {"ratio", 1.0}};
  for (const auto& [name, factor] : kFactors) {
    if (name == unit) return factor;
  }
  return std::nullopt;
}

class RowReader {
 public:
  RowReader(const Table& table, const std::vector<std::string>& row, CounterReport& report)
      : table_(table), row_(row), report_(report) {}

  CounterReading read() {
    CounterReading reading{.kernel = row_[*table_.column(kKernelColumn)]};
    kernel_ = reading.kernel;
    reading.device_bytes = value(kDeviceBytes, "device bytes");
    reading.occupancy = value(kOccupancy, "occupancy");
    reading.theoretical_occupancy = value(kTheoretical, "theoretical occupancy");
    reading.bank_conflicts = value(kBankConflicts, "bank conflicts");
    reading.stalls = stalls();
    return reading;
  }

 private:
  std::optional<double> value(std::string_view metric, std::string_view name) {
    const auto column = table_.column(metric);
    if (!column) return miss(name, "not in the report");
    const auto number = read_number(row_[*column]);
    if (!number) return miss(name, row_[*column].empty() ? "empty" : row_[*column]);
    const auto factor = factor_of(table_.units[*column]);
    if (!factor) return miss(name, fmt::format("in an unknown unit, '{}'", table_.units[*column]));
    return *number * *factor;
  }

  std::optional<double> miss(std::string_view name, std::string_view why) {
    report_.missing.push_back(fmt::format("{}: no {}: {}", bare_kernel_name(kernel_), name, why));
    return std::nullopt;
  }

  std::vector<std::pair<std::string, double>> stalls() {
    std::vector<std::pair<std::string, double>> stalls;
    double all = 0.0;
    for (const char* reason : kStallReasons) {
      const auto warps = value(fmt::format("{}{}{}", kStallBegin, reason, kStallEnd),
                               fmt::format("stalls by {}", reason));
      if (!warps || *warps <= 0.0) continue;
      all += *warps;
      if (std::string_view(reason) == kNoStall) continue;
      std::string name = reason;
      std::ranges::replace(name, '_', ' ');
      stalls.emplace_back(std::move(name), *warps);
    }
    for (auto& [reason, share] : stalls) share /= all;
    std::ranges::stable_sort(stalls, std::greater(),
                             [](const auto& stall) { return stall.second; });
    return stalls;
  }

  const Table& table_;
  const std::vector<std::string>& row_;
  CounterReport& report_;
  std::string kernel_;
};

bool is_program(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored) && ::access(path.c_str(), X_OK) == 0;
}

// "/opt/nvidia/nsight-compute/2025.1.0/ncu": the newest.
std::vector<fs::path> packaged_folders() {
  std::vector<fs::path> folders;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/opt/nvidia/nsight-compute", ignored)) {
    folders.push_back(entry.path());
  }
  std::ranges::sort(folders, std::greater());
  return folders;
}

}  // namespace

Result<fs::path> find_ncu(const CudaSearch& search, std::string_view search_path) {
  std::vector<fs::path> folders;
  for (const fs::path& root : search.roots) folders.push_back(root / "bin");
  while (!search_path.empty()) {
    const size_t end = std::min(search_path.find(':'), search_path.size());
    folders.emplace_back(search_path.substr(0, end));
    search_path.remove_prefix(std::min(end + 1, search_path.size()));
  }
  folders.emplace_back("/usr/local/cuda/bin");
  std::ranges::copy(packaged_folders(), std::back_inserter(folders));
  for (const fs::path& folder : folders) {
    if (folder.is_absolute() && is_program(folder / "ncu")) return folder / "ncu";
  }
  return fail(ErrorCode::kEnvironment, "NVIDIA Nsight Compute (ncu) is not installed", "counters",
              "install the package nsight-compute, or name it with --ncu");
}

std::vector<std::string> ncu_arguments(const NcuRequest& request) {
  const int launches = kLaunches * static_cast<int>(std::max<size_t>(1, request.kernels.size()));
  std::vector<std::string> arguments = {
      "--target-processes",
      "all",
      "--kernel-name-base",
      "function",
      "--kernel-name",
      fmt::format("regex:^({})$", fmt::join(request.kernels, "|")),
      "--launch-count",
      std::to_string(launches),
      "--metrics",
      fmt::format("{}", fmt::join(metric_names(), ",")),
      "--csv",
      "--page",
      "raw",
      "--print-units",
      "base",
      "--log-file",
      request.report.string(),
  };
  arguments.insert(arguments.end(), request.command.begin(), request.command.end());
  return arguments;
}

std::string bare_kernel_name(std::string_view name) {
  std::string bare(name);
  constexpr std::string_view kAnonymous = "(anonymous namespace)::";
  for (size_t at = 0; (at = bare.find(kAnonymous)) != std::string::npos;) {
    bare.erase(at, kAnonymous.size());
  }
  bare.resize(std::min(bare.find_first_of("<("), bare.size()));
  const size_t begin = bare.find_last_of(" :");
  return begin == std::string::npos ? bare : bare.substr(begin + 1);
}

Result<CounterReport> read_ncu_report(std::string_view text) {
  const Report read = FIB_TRY(read_report(text));
  if (read.table.rows.empty()) return nothing_profiled(read);
  const auto kernel = read.table.column(kKernelColumn);
  if (!kernel) {
    return fail(ErrorCode::kInvalidInput, fmt::format("lacks the column '{}'", kKernelColumn),
                "ncu's report");
  }
  CounterReport report;
  for (const std::vector<std::string>& row : read.table.rows) {
    const bool is_known = std::ranges::find(report.kernels, row[*kernel],
                                            &CounterReading::kernel) != report.kernels.end();
    if (is_known) continue;
    report.kernels.push_back(RowReader(read.table, row, report).read());
  }
  return report;
}

}  // namespace fib
