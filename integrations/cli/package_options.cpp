#include "integrations/cli/package_options.h"

#include <algorithm>

#include "runners/cpu/host_cpu.h"
#include "runners/worker/child_process.h"
#include "runners/worker/toolchain.h"

namespace fib {

namespace {

namespace fs = std::filesystem;

constexpr const char* kRuntimeArchive = "libfib_kernels_runtime.a";
constexpr const char* kObjectsFolder = "packages";
constexpr double kWheelTimeoutS = 120.0;

// In a build folder beside the binary, in an install's lib/fib.
Result<fs::path> find_runtime_archive(const fs::path& executable) {
  const fs::path folder = executable.parent_path();
  for (const fs::path& place : {folder, folder.parent_path() / "lib/fib"}) {
    std::error_code ignored;
    if (fs::exists(place / kRuntimeArchive, ignored)) return place / kRuntimeArchive;
  }
  return fail(ErrorCode::kEnvironment, "the run-time library of kernel packages is not there",
              (folder / kRuntimeArchive).string(),
              "build the target fib_kernels_runtime, or install fib whole");
}

}  // namespace

Result<PackageBuildOptions> package_build_options(const Context& context) {
  return PackageBuildOptions{
      .abi = context.home.abi(),
      .c_header = context.home.root / "integrations/package/include/fib_kernels.h",
      .table_header = context.home.root,
      .runtime_archive = FIB_TRY(find_runtime_archive(context.executable)),
      .device_sources = context.home.device_sources(),
      .cache_folder = context.cache_folder / kObjectsFolder,
      .worker_executable = context.executable,
      .cuda = context.cuda_search,
      .threads = host_threads(),
      .fib_version = FIB_VERSION};
}

Result<fs::path> build_wheel(const Context& context, const fs::path& package,
                             const fs::path& folder) {
  const fs::path script = context.home.root / "scripts/build-wheel";
  auto process = FIB_TRY(ChildProcess::start(
      {.executable = "/usr/bin/env",
       .arguments = {"python3", "-B", script.string(), fs::absolute(package).string(),
                     fs::absolute(folder).string()},
       .environment = {{"PATH", std::string(kSystemSearchPath)}}}));
  if (!process->wait_until(deadline_in(kWheelTimeoutS))) {
    process->kill();
    return fail(ErrorCode::kTimeout, "the wheel is not done after two minutes", script.string());
  }
  const WorkerExit exit = process->wait();
  std::string output = process->output();
  while (output.ends_with('\n')) output.pop_back();
  if (!exit.exited || exit.code != 0) {
    return fail(ErrorCode::kEnvironment, output.empty() ? exit.describe() : output, script.string(),
                "it needs python3");
  }
  return fs::path(output.substr(output.rfind('\n') + 1));  // npos + 1 is 0: the only line
}

}  // namespace fib
