// fib cache: builds and expected values on disk. All of it can be made again.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <ostream>

#include "integrations/cli/commands.h"
#include "integrations/cli/units.h"

namespace fib {

namespace {

namespace fs = std::filesystem;

// The parts of the cache, by their folder.
constexpr const char* kParts[] = {kBuildsFolder, kExpectedFolder};

// What is dropped as one: a build's folder or a file of expected values.
struct CacheEntry {
  fs::path path;
  uint64_t size_bytes = 0;
  fs::file_time_type used;
};

uint64_t size_of(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    const uint64_t size = fs::file_size(path, ignored);
    return ignored ? 0 : size;
  }
  uint64_t size = 0;
  for (auto it = fs::recursive_directory_iterator(path, ignored);
       it != fs::recursive_directory_iterator(); it.increment(ignored)) {
    if (it->is_regular_file(ignored)) size += it->file_size(ignored);
  }
  return size;
}

std::vector<CacheEntry> entries_of(const fs::path& folder) {
  std::vector<CacheEntry> entries;
  std::error_code ignored;
  for (auto it = fs::directory_iterator(folder, ignored); it != fs::directory_iterator();
       it.increment(ignored)) {
    entries.push_back({it->path(), size_of(it->path()), it->last_write_time(ignored)});
  }
  return entries;
}

uint64_t total_bytes(const std::vector<CacheEntry>& entries) {
  uint64_t bytes = 0;
  for (const CacheEntry& entry : entries) bytes += entry.size_bytes;
  return bytes;
}

Result<int> info(const Context& context) {
  Json parts = Json::array();
  Table table({{""}, {"entries", Align::kRight}, {"size", Align::kRight}});
  for (const char* part : kParts) {
    const auto entries = entries_of(context.cache_folder / part);
    const uint64_t bytes = total_bytes(entries);
    parts.push_back({{"name", part}, {"entries", entries.size()}, {"size_bytes", bytes}});
    table.add({part, std::to_string(entries.size()), format_bytes(static_cast<double>(bytes))});
  }
  if (context.json()) {
    print_json(context, {{"folder", context.cache_folder.string()}, {"parts", parts}});
  } else {
    context.out << context.cache_folder.string() << "\n";
    table.print(context.out, context.out_style, "  ");
  }
  return kExitPassed;
}

int report_freed(const Context& context, uint64_t bytes) {
  if (context.json()) {
    print_json(context, {{"freed_bytes", bytes}});
  } else {
    context.out << "freed " << format_bytes(static_cast<double>(bytes)) << "\n";
  }
  return kExitPassed;
}

// The least recently used go first, until at most `max_bytes` are left.
Result<int> trim(const Context& context, uint64_t max_bytes) {
  std::vector<CacheEntry> entries;
  for (const char* part : kParts) {
    auto more = entries_of(context.cache_folder / part);
    std::move(more.begin(), more.end(), std::back_inserter(entries));
  }
  std::sort(entries.begin(), entries.end(),
            [](const CacheEntry& a, const CacheEntry& b) { return a.used < b.used; });
  const uint64_t before = total_bytes(entries);
  uint64_t left = before;
  for (const CacheEntry& entry : entries) {
    if (left <= max_bytes) break;
    std::error_code trouble;
    fs::remove_all(entry.path, trouble);
    if (trouble) return fail(ErrorCode::kIo, trouble.message(), entry.path.string());
    left -= entry.size_bytes;
  }
  return report_freed(context, before - left);
}

}  // namespace

void add_cache_command(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("cache", "Look at, clear or trim builds and expected values");
  command->require_subcommand(1);
  command->footer(
      "Examples:\n"
      "  fib cache info\n"
      "  fib cache trim 2G\n");

  CLI::App* info_command = command->add_subcommand("info", "How much is in there");
  info_command->footer("Example:\n  fib cache info --json\n");
  info_command->callback([&action] { action = info; });

  CLI::App* clear_command = command->add_subcommand("clear", "Drop everything");
  clear_command->footer("Example:\n  fib cache clear\n");
  clear_command->callback(
      [&action] { action = [](const Context& context) { return trim(context, 0); }; });

  CLI::App* trim_command =
      command->add_subcommand("trim", "Drop the least recently used beyond a size");
  auto size = std::make_shared<std::string>();
  trim_command->add_option("size", *size, "What may stay, as 500M or 2G")->required();
  trim_command->footer("Example:\n  fib cache trim 2G\n");
  trim_command->callback([size, &action] {
    action = [size](const Context& context) -> Result<int> {
      return trim(context, FIB_TRY(parse_bytes(*size, "SIZE")));
    };
  });
}

}  // namespace fib
