// fib doctor: what works on this machine; each "no" with its reason and what to do about it.

#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/utsname.h>

#include <CLI/CLI.hpp>
#include <ostream>

#include "integrations/cli/commands.h"
#include "integrations/cli/runners.h"
#include "integrations/cli/units.h"
#include "leaderboard/store.h"
#include "runners/cuda/cuda_runner.h"
#include "runners/worker/sandbox.h"

namespace fib {

namespace {

struct Finding {
  std::string topic, name;
  bool is_ok = false;
  std::string detail;  // a version, or the reason why not
  std::string remedy;
};

Finding finding_of(std::string topic, std::string name, const SandboxAbility& ability,
                   std::string remedy) {
  return {std::move(topic), std::move(name), ability.ok, ability.detail,
          ability.ok ? "" : std::move(remedy)};
}

void examine_targets(const std::vector<std::unique_ptr<Runner>>& runners,
                     std::vector<Finding>& findings) {
  for (const auto& runner : runners) {
    const Support support = runner->available();
    findings.push_back(
        {"target", std::string(runner->target()), support.ok, support.reason, support.remedy});
    if (!support.ok) continue;
    for (const DeviceInfo& device : runner->devices()) {
      std::string detail = fmt::format("{}, {}, {}", device.name, device.architecture,
                                       format_bytes(static_cast<double>(device.memory_bytes)));
      if (device.bandwidth_gbps > 0.0) {
        detail += fmt::format(", {} ({})", format_bandwidth(device.bandwidth_gbps * 1e9),
                              device.ceilings_source);
      }
      findings.push_back(
          {"device", fmt::format("{} {}", runner->target(), device.index), true, detail, ""});
      for (const auto& [library, version] : device.libraries) {
        findings.push_back({"library", library, true, version, ""});
      }
    }
  }
}

void examine_cuda(const Context& context, std::vector<Finding>& findings) {
  const CudaStatus status = probe_cuda(cuda_options(context));
  for (const CudaFinding& finding : status.findings) {
    const std::string found = finding.version.empty() || finding.path.empty()
                                  ? finding.version + finding.path
                                  : finding.version + ", " + finding.path;
    findings.push_back(
        {"cuda", finding.name, finding.ok, finding.ok ? found : finding.reason, finding.remedy});
  }
  for (const CudaDeviceStatus& device : status.devices) {
    findings.push_back(
        {"clocks", fmt::format("cuda {}", device.index), true,
         fmt::format("{} of {} MHz, memory {} MHz, {} °C, {:.0f} W, throttled by: {}",
                     device.sm_clock_mhz, device.max_sm_clock_mhz, device.memory_clock_mhz,
                     device.temperature_c, device.power_w, device.throttle_text),
         ""});
  }
}

void examine_sandbox(std::vector<Finding>& findings) {
  const SandboxAbilities abilities = probe_sandbox();
  findings.push_back(finding_of("sandbox", "seccomp", abilities.seccomp,
                                "use a kernel, or a container policy, that allows seccomp filters: "
                                "without them no candidate is run"));
  findings.push_back(finding_of("sandbox", "landlock", abilities.landlock,
                                "Linux 5.13 or newer with Landlock enabled; without it candidates "
                                "may read files, but still not write any"));
  findings.push_back(finding_of("sandbox", "user namespaces", abilities.user_namespaces,
                                "nothing: workers don't need them"));
}

void examine_store(const Context& context, std::vector<Finding>& findings) {
  std::error_code ignored;
  if (!std::filesystem::exists(context.store_file, ignored)) {
    findings.push_back({"store", context.store_file.string(), true, "not there yet", ""});
    return;
  }
  const auto store = Store::open(context.store_file);
  const auto count = store ? (*store)->count_verdicts() : Result<int64_t>(fail(store.error()));
  if (count) {
    findings.push_back({"store", context.store_file.string(), true,
                        fmt::format("schema {}, {} verdicts", (*store)->schema_version(), *count),
                        ""});
  } else {
    findings.push_back(
        {"store", context.store_file.string(), false, count.error().message, count.error().remedy});
  }
}

void print_findings(const Context& context, const std::vector<Finding>& findings) {
  const Style& style = context.out_style;
  size_t width = 0;
  for (const Finding& finding : findings) width = std::max(width, display_width(finding.name));
  std::string topic;
  for (const Finding& finding : findings) {
    if (finding.topic != topic) {
      context.out << (topic.empty() ? "" : "\n") << style.bold(finding.topic) << "\n";
    }
    topic = finding.topic;
    context.out << "  " << (finding.is_ok ? style.green("yes") : style.red("no ")) << "  "
                << pad(finding.name, width, Align::kLeft) << "  " << finding.detail << "\n";
    if (!finding.remedy.empty()) {
      context.out << std::string(width + 9, ' ') << style.dim("try: ") << finding.remedy << "\n";
    }
  }
}

Result<int> run_doctor(const Context& context) {
  std::vector<Finding> findings;
  const auto runners = make_runners(context);
  examine_targets(runners, findings);
  examine_cuda(context, findings);
  examine_sandbox(findings);
  utsname system{};
  ::uname(&system);
  findings.push_back(
      {"system", "kernel", true, fmt::format("{} {}", system.sysname, system.release), ""});
  findings.push_back({"system", "fib", true, FIB_VERSION, ""});
  findings.push_back({"system", "sqlite", true, ::sqlite3_libversion(), ""});
  findings.push_back({"system", "home", true, context.home.root.string(), ""});
  findings.push_back({"system", "cache", true, context.cache_folder.string(), ""});
  examine_store(context, findings);

  if (context.json()) {
    Json entries = Json::array();
    for (const Finding& finding : findings) {
      entries.push_back({{"topic", finding.topic},
                         {"name", finding.name},
                         {"ok", finding.is_ok},
                         {"detail", finding.detail},
                         {"remedy", finding.remedy}});
    }
    print_json(context, {{"findings", entries}});
  } else {
    print_findings(context, findings);
  }
  return find_runner(runners, "cpu") ? kExitPassed : kExitEnvironment;
}

}  // namespace

void add_doctor_command(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("doctor", "What works on this machine, and what to do");
  command->footer(
      "Exits with 0 if the cpu target works: nothing else is needed to take part.\n"
      "Example:\n"
      "  fib doctor --json\n");
  command->callback([&action] { action = run_doctor; });
}

}  // namespace fib
