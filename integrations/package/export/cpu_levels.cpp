#include "integrations/package/export/cpu_levels.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "runners/cpu/cpu_build.h"

namespace fib {
namespace {

struct Level {
  std::string_view name, march;
  std::array<const char*, 4> extensions;
};

constexpr std::array<Level, 5> kLevels = {{
    {"native", "native", {}},
    {"x86-64-v4-amx", "x86-64-v4", {"-mavx512bf16", "-mavx512vnni", "-mamx-tile", "-mamx-bf16"}},
    {"x86-64-v4-bf16", "x86-64-v4", {"-mavx512bf16", "-mavx512vnni"}},
    {"x86-64-v4", "x86-64-v4", {}},
    {"x86-64-v3", "x86-64-v3", {}},
}};

#if defined(__x86_64__)
constexpr std::string_view kArchitecture = "x86-64";
#else
constexpr std::string_view kArchitecture = "another architecture";
#endif

}  // namespace

std::vector<std::string_view> cpu_level_names() {
  std::vector<std::string_view> names;
  for (const Level& level : kLevels) names.push_back(level.name);
  return names;
}

Result<std::vector<std::string>> cpu_level_flags(std::string_view name) {
  const auto level = std::find_if(kLevels.begin(), kLevels.end(),
                                  [&](const Level& known) { return known.name == name; });
  if (level == kLevels.end()) {
    return fail(ErrorCode::kInvalidInput, fmt::format("there is no processor level '{}'", name),
                "cpu_levels", fmt::format("choose of {}", fmt::join(cpu_level_names(), ", ")));
  }
  if (level->march != "native" && !level->march.starts_with(kArchitecture)) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("this machine's compiler makes no code for '{}'", name), "cpu_levels",
                "choose native");
  }
  std::vector<std::string> flags = cpu_object_flags(level->march);
  for (const char* extension : level->extensions) {
    if (extension != nullptr) flags.emplace_back(extension);
  }
  return flags;
}

std::vector<std::string> sorted_cpu_levels(const std::vector<std::string>& levels) {
  std::vector<std::string> sorted;
  for (const std::string_view name : cpu_level_names()) {
    if (std::find(levels.begin(), levels.end(), name) != levels.end()) sorted.emplace_back(name);
  }
  return sorted;
}

}  // namespace fib
