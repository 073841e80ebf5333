// The one binary. The environment is read here and nowhere else; a broken invariant anywhere below
// ends here with exit code 70.

#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <iostream>
#include <new>
#include <stdexcept>

#include "integrations/cli/app.h"
#include "integrations/cli/context.h"
#include "runners/worker_entry.h"

namespace {

std::optional<std::string> variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

// Workers start with an environment of their own, in which NVIDIA's profilers would lose them: what
// these put into ours goes on to the workers that they are to see.
std::vector<std::pair<std::string, std::string>> profiler_variables() {
  constexpr const char* kPrefixes[] = {"CUDA_INJECTION", "NVTX_INJECTION", "NV_", "LD_PRELOAD="};
  std::vector<std::pair<std::string, std::string>> variables;
  if (!variable("CUDA_INJECTION64_PATH") && !variable("NV_TPS_LAUNCH_TOKEN")) return variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    for (const char* prefix : kPrefixes) {
      if (!text.starts_with(prefix)) continue;
      const size_t equals = text.find('=');
      if (equals != std::string::npos) {
        variables.emplace_back(text.substr(0, equals), text.substr(equals + 1));
      }
      break;
    }
  }
  return variables;
}

fib::Environment read_environment() {
  std::error_code ignored;
  const std::string terminal = variable("TERM").value_or("dumb");
  return {
      .executable = std::filesystem::read_symlink("/proc/self/exe", ignored),
      .store = variable("FIB_STORE"),
      .cache_home = variable("XDG_CACHE_HOME"),
      .user_home = variable("HOME"),
      .cuda_home = variable("CUDA_HOME"),
      .virtual_env = variable("VIRTUAL_ENV"),
      .profiler_variables = profiler_variables(),
      .wants_color = terminal != "dumb" && !variable("NO_COLOR"),
      .out_is_terminal = ::isatty(STDOUT_FILENO) == 1,
      .err_is_terminal = ::isatty(STDERR_FILENO) == 1 && terminal != "dumb",
  };
}

}  // namespace

int main(int argc, char** argv) {
  try {
    // Not a command of the user's: this binary is also its own worker processes.
    if (argc > 2 && std::strcmp(argv[1], "internal-worker") == 0) {
      return fib::worker_entry(argc - 2, argv + 2);
    }
    return fib::run_app(argc, argv, read_environment(), std::cout, std::cerr);
  } catch (const std::bad_alloc&) {
    std::cerr << "fib: out of memory\n";
    return fib::kExitEnvironment;
  } catch (const std::exception& error) {
    std::cerr << "fib: internal error, please report it: " << error.what() << "\n";
    return fib::kExitInternal;
  }
}
