#include "runners/cpu/host_cpu.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>

#include "signatures/base/file.h"
#include "signatures/base/hash.h"
#include "signatures/base/json.h"

namespace fib {
namespace {

// The first processor's fields of /proc/cpuinfo. Arm machines have no model name and call their
// flags features.
std::map<std::string, std::string> cpu_info() {
  std::map<std::string, std::string> fields;
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

std::string flags_of(const std::map<std::string, std::string>& fields) {
  for (const char* name : {"flags", "Features"}) {
    if (const auto found = fields.find(name); found != fields.end()) return found->second;
  }
  return {};
}

bool has_flag(const std::string& flags, std::string_view flag) {
  std::istringstream words(flags);
  for (std::string word; words >> word;) {
    if (word == flag) return true;
  }
  return false;
}

std::string model_of(const std::map<std::string, std::string>& fields) {
  for (const char* name : {"model name", "Model", "CPU part"}) {
    if (const auto found = fields.find(name); found != fields.end()) return found->second;
  }
  return "unknown processor";
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

std::string architecture_of(const std::string& flags) {
  utsname machine{};
  ::uname(&machine);
  std::string architecture = machine.machine;
  std::replace(architecture.begin(), architecture.end(), '_', '-');
  for (const char* flag : {"avx2", "f16c", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16",
                           "asimdhp", "bf16", "sve", "sve2"}) {
    if (has_flag(flags, flag)) architecture += fmt::format(" {}", flag);
  }
  return architecture;
}

// How many times the fp32 rate half-precision units could reach: an upper bound by the instruction
// set, because a candidate may use what our probe doesn't.
double half_precision_factor(const std::string& flags) {
  if (has_flag(flags, "amx_bf16")) return 16.0;
  for (const char* flag : {"avx512_bf16", "avx512_fp16", "bf16", "asimdhp"}) {
    if (has_flag(flags, flag)) return 2.0;
  }
  return 1.0;
}

std::optional<HostCeilings> read_ceilings(const std::filesystem::path& file) {
  const auto json = read_json_file(file);
  if (!json) return std::nullopt;
  const JsonView view(*json, file.string());
  const auto number = [&](std::string_view key) {
    const auto member = view.find(key);
    return member ? member->number().value_or(0.0) : 0.0;
  };
  const HostCeilings ceilings{number("bandwidth_gbps"), number("fp32_tflops")};
  if (ceilings.bandwidth_gbps <= 0.0 || ceilings.fp32_tflops <= 0.0) return std::nullopt;
  return ceilings;
}

}  // namespace

std::string host_cpu_identity() {
  const auto fields = cpu_info();
  return sha256_hex(model_of(fields) + '\n' + flags_of(fields));
}

int host_threads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

int pool_threads() { return std::max(1, host_threads() - 1); }

DeviceInfo describe_host() {
  const auto fields = cpu_info();
  const std::string model = model_of(fields);
  DeviceInfo device;
  device.target = "cpu";
  device.threads = pool_threads();
  device.name = fmt::format("{}, {} thread{}", model, device.threads,
                            device.threads == 1 ? "" : "s");
  device.key = fmt::format("{}_{}t", sanitize(model), device.threads);
  device.architecture = architecture_of(flags_of(fields));
  device.memory_bytes = static_cast<size_t>(::sysconf(_SC_PHYS_PAGES)) *
                        static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  device.l2_bytes = static_cast<size_t>(std::max(0L, ::sysconf(_SC_LEVEL2_CACHE_SIZE)));
  return device;
}

DeviceInfo host_device(const std::filesystem::path& cache_folder) {
  DeviceInfo device = describe_host();
  const auto file = cache_folder / fmt::format("cpu-ceilings-{}-{}.json", device.key,
                                               host_cpu_identity().substr(0, 16));
  auto ceilings = read_ceilings(file);
  if (!ceilings) {
    ceilings = measure_host_ceilings(device.threads);
    std::error_code ignored;
    std::filesystem::create_directories(cache_folder, ignored);
    // A cache that can't be written costs a fifth of a second at the next start, nothing else.
    static_cast<void>(write_file_atomically(
        file, dump_json_pretty(Json{{"bandwidth_gbps", ceilings->bandwidth_gbps},
                                    {"fp32_tflops", ceilings->fp32_tflops}})));
  }
  device.bandwidth_gbps = ceilings->bandwidth_gbps;
  device.fp32_tflops = ceilings->fp32_tflops;
  device.tensor_tflops = ceilings->fp32_tflops * half_precision_factor(flags_of(cpu_info()));
  device.ceilings_source = "measured";
  return device;
}

}  // namespace fib
