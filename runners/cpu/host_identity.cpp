#include "runners/cpu/host_identity.h"

#include <sched.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <initializer_list>
#include <map>

namespace fib {
namespace {

using Fields = std::map<std::string, std::string>;

// The first processor's fields of /proc/cpuinfo.
Fields cpu_info() {
  Fields fields;
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line) && !line.empty();) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const size_t name_end = line.find_last_not_of(" \t", colon - 1) + 1;
    const size_t value = line.find_first_not_of(' ', colon + 1);
    fields[line.substr(0, name_end)] = value == std::string::npos ? "" : line.substr(value);
  }
  return fields;
}

std::string first_of(const Fields& fields, std::initializer_list<const char*> names,
                     const char* otherwise) {
  for (const char* name : names) {
    if (const auto found = fields.find(name); found != fields.end()) return found->second;
  }
  return otherwise;
}

// Letters, digits, '-' and '.', all else an underscore: fit for a file name.
std::string sanitize(std::string_view text) {
  std::string key;
  for (const char c : text) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '.';
    if (plain) key += c;
    else if (!key.empty() && key.back() != '_') key += '_';
  }
  while (!key.empty() && key.back() == '_') key.pop_back();
  return key;
}

}  // namespace

HostProcessor host_processor() {
  const Fields fields = cpu_info();
  // Arm machines have no model name and call their flags features.
  return {.model = first_of(fields, {"model name", "Model", "CPU part"}, "unknown processor"),
          .flags = first_of(fields, {"flags", "Features"}, "")};
}

bool has_processor_flag(std::string_view flags, std::string_view flag) {
  while (!flags.empty()) {
    const size_t end = std::min(flags.find(' '), flags.size());
    if (flags.substr(0, end) == flag) return true;
    flags.remove_prefix(std::min(end + 1, flags.size()));
  }
  return false;
}

int host_threads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

int pool_threads() { return std::max(1, host_threads() - 1); }

std::string hardware_key(const HostProcessor& processor) {
  return sanitize(processor.model) + "_" + std::to_string(pool_threads()) + "t";
}

}  // namespace fib
