#include "runners/cpu/processor_affinity.h"

namespace fib {

std::optional<ProcessorSplit> split_processors() {
  cpu_set_t all;
  if (::sched_getaffinity(0, sizeof all, &all) != 0 || CPU_COUNT(&all) < 2) return std::nullopt;
  int last = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &all)) last = cpu;
  }
  ProcessorSplit split{.clock = {}, .timed = all};
  CPU_SET(last, &split.clock);
  CPU_CLR(last, &split.timed);
  return split;
}

AffinityScope::AffinityScope(const cpu_set_t* processors) {
  cpu_set_t before;
  if (processors == nullptr || ::sched_getaffinity(0, sizeof before, &before) != 0) return;
  if (::sched_setaffinity(0, sizeof *processors, processors) == 0) before_ = before;
}

AffinityScope::~AffinityScope() {
  if (before_) ::sched_setaffinity(0, sizeof *before_, &*before_);
}

}  // namespace fib
