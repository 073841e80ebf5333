#include "runners/worker_entry.h"

#include <signal.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <exception>
#include <span>
#include <string_view>

#include "runners/cpu/cpu_worker.h"
#include "runners/cuda/cuda_worker.h"
#include "runners/cuda/nvrtc_worker.h"
#include "runners/worker/plan_worker.h"
#include "runners/worker/process.h"

namespace fib {
namespace {

struct WorkerKind {
  std::string_view name;
  int (*run)(Channel channel, std::span<char*> arguments);
};

constexpr std::array kKinds = {
    WorkerKind{"cpu", run_cpu_worker},
    WorkerKind{"cuda", run_cuda_worker},
    WorkerKind{"nvrtc", run_nvrtc_worker},
    WorkerKind{"plan", run_plan_worker},
};

// Stderr belongs to the worker alone and ends up in its parent's error.
int complain(const char* what, std::string_view about) {
  std::fprintf(stderr, "fib worker: %s '%.*s'\n", what, static_cast<int>(about.size()),
               about.data());
  return 2;
}

int run(std::string_view name, int fd, std::span<char*> arguments) {
  for (const WorkerKind& kind : kKinds) {
    if (kind.name == name) return kind.run(Channel(fd), arguments);
  }
  return complain("unknown kind", name);
}

}  // namespace

int worker_entry(int argc, char** argv) {
  const std::span<char*> arguments(argv, static_cast<size_t>(argc));
  if (arguments.size() < 3 || std::string_view(arguments[1]) != "--fd") {
    return complain("usage: KIND --fd N, not",
                    arguments.size() < 2 ? "" : std::string_view(arguments[1]));
  }
  const std::string_view number(arguments[2]);
  int fd = -1;
  if (std::from_chars(number.begin(), number.end(), fd).ptr != number.end() || fd < 3) {
    return complain("no such descriptor:", number);
  }
  try {
    return run(arguments[0], fd, arguments.subspan(3));
  } catch (const std::exception& bug) {
    return complain("internal error:", bug.what()), 70;
  }
}

}  // namespace fib
