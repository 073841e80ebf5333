#include "runners/cpu/host_cpu.h"

#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "signatures/base/file.h"
#include "signatures/base/hash.h"
#include "signatures/base/json.h"

namespace fib {
namespace {

std::string architecture_of(const std::string& flags) {
  utsname machine{};
  ::uname(&machine);
  std::string architecture = machine.machine;
  std::replace(architecture.begin(), architecture.end(), '_', '-');
  for (const char* flag : {"avx2", "f16c", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16",
                           "asimdhp", "bf16", "sve", "sve2"}) {
    if (has_processor_flag(flags, flag)) architecture += fmt::format(" {}", flag);
  }
  return architecture;
}

// How many times the fp32 rate half-precision units could reach: an upper bound by the instruction
// set, because a candidate may use what our probe doesn't.
double half_precision_factor(const std::string& flags) {
  if (has_processor_flag(flags, "amx_bf16")) return 16.0;
  for (const char* flag : {"avx512_bf16", "avx512_fp16", "bf16", "asimdhp"}) {
    if (has_processor_flag(flags, flag)) return 2.0;
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
  const HostProcessor processor = host_processor();
  return sha256_hex(processor.model + '\n' + processor.flags);
}

DeviceInfo describe_host() {
  const HostProcessor processor = host_processor();
  DeviceInfo device;
  device.target = "cpu";
  device.threads = pool_threads();
  device.name = fmt::format("{}, {} thread{}", processor.model, device.threads,
                            device.threads == 1 ? "" : "s");
  device.key = hardware_key(processor);
  device.architecture = architecture_of(processor.flags);
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
  device.tensor_tflops = ceilings->fp32_tflops * half_precision_factor(host_processor().flags);
  device.ceilings_source = "measured";
  return device;
}

}  // namespace fib
