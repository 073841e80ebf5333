#include "integrations/cli/counters.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <chrono>

#include "agents/call_folder.h"
#include "integrations/cli/interrupt.h"
#include "runners/worker/child_process.h"
#include "runners/worker/toolchain.h"
#include "signatures/base/file.h"

namespace fib {

namespace {

namespace fs = std::filesystem;

constexpr double kPatience = 0.1;           // s between two looks at whether to go on
constexpr double kTimeout = 600.0;          // s: each kernel runs once for a few counters at a time
constexpr const char* kFolder = "profile";  // of the cache

// Identifiers, each once: they go into a regular expression.
std::vector<std::string> kernel_names(const Verdict& verdict) {
  std::vector<std::string> names;
  for (const KernelShare& kernel : verdict.kernels) {
    std::string name = bare_kernel_name(kernel.name);
    const bool is_identifier = !name.empty() && std::ranges::all_of(name, [](unsigned char c) {
      return std::isalnum(c) != 0 || c == '_';
    });
    if (is_identifier && std::ranges::find(names, name) == names.end()) {
      names.push_back(std::move(name));
    }
  }
  return names;
}

std::vector<std::string> submit_command(const CountersRequest& request, const fs::path& folder) {
  const Context& context = request.context;
  std::vector<std::string> command = {
      context.executable.string(),   "--home",  context.home.root.string(),  "--cache",
      context.cache_folder.string(), "--store", (folder / "fib.db").string()};
  for (const fs::path& dataset : context.datasets) {
    command.insert(command.end(), {"--dataset", dataset.string()});
  }
  command.insert(command.end(),
                 {"submit", (folder / "solution").string(), "--signature",
                  request.verdict.signature, "--workload", request.verdict.workload, "--device",
                  std::to_string(request.verdict.device.index), "--quick", "--force"});
  if (const fs::path& workloads = request.submission.workloads.path; !workloads.empty()) {
    command.insert(command.end(), {"--workloads", workloads.string()});
  }
  return command;
}

std::vector<std::pair<std::string, std::string>> environment(const Context& context,
                                                             const fs::path& folder) {
  std::vector<std::pair<std::string, std::string>> variables = {
      {"PATH", std::string(kSystemSearchPath)},
      {"LC_ALL", "C"},
      {"HOME", folder.string()},
      {"TMPDIR", folder.string()}};
  const CudaSearch& search = context.cuda_search;
  if (!search.roots.empty()) variables.emplace_back("CUDA_HOME", search.roots.front().string());
  if (!search.python_prefixes.empty()) {
    variables.emplace_back("VIRTUAL_ENV", search.python_prefixes.front().string());
  }
  return variables;
}

Result<void> run(ChildOptions options, const std::function<bool()>& cancelled) {
  const InterruptGuard interrupt;
  const Deadline deadline = deadline_in(kTimeout);
  const auto child = FIB_TRY(ChildProcess::start(std::move(options)));
  while (!child->wait_until(deadline_in(kPatience))) {
    const bool is_late = std::chrono::steady_clock::now() >= deadline;
    const bool is_unwanted = interrupt.requested() || (cancelled && cancelled());
    if (!is_late && !is_unwanted) continue;
    child->kill();
    return fail(ErrorCode::kTimeout,
                is_late ? fmt::format("not done after {:g} s", kTimeout) : "interrupted", "ncu");
  }
  return {};
}

}  // namespace

Result<CounterReport> read_counters(const CountersRequest& request) {
  const std::vector<std::string> kernels = kernel_names(request.verdict);
  if (kernels.empty()) {
    return fail(ErrorCode::kUnsupported, "the kernels' names are not known", "counters",
                "they are where CUPTI is (fib doctor)");
  }
  const fs::path ncu = request.ncu.empty()
                           ? FIB_TRY(find_ncu(request.context.cuda_search, kSystemSearchPath))
                           : request.ncu;
  const agents::CallFolder folder =
      FIB_TRY(agents::CallFolder::make(request.context.cache_folder / kFolder));
  FIB_CHECK(write_solution_folder(request.solution, folder.path() / "solution"));
  const fs::path report = folder.path() / "report.csv";
  FIB_CHECK(run({.executable = ncu,
                 .arguments = ncu_arguments({.kernels = kernels,
                                             .report = report,
                                             .command = submit_command(request, folder.path())}),
                 .environment = environment(request.context, folder.path())},
                request.cancelled));
  auto text = read_file(report);
  if (!text) return fail(ErrorCode::kEnvironment, "ncu wrote no report", ncu.string());
  return read_ncu_report(*text);
}

}  // namespace fib
