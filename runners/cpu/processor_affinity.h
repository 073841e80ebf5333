#pragma once

// Which processors a thread may run on. Where one process rings and another answers, and both spin
// for each other, they must not share a processor: the answer would wait until the one that spins
// gives it away, some ten microseconds, in one session and not in the next.

#include <sched.h>

#include <optional>

namespace fib {

// Of the processors that the calling thread may use.
struct ProcessorSplit {
  cpu_set_t clock;  // one, for the thread that takes the time
  cpu_set_t timed;  // all others, for what is timed
};
// Nothing where there is one processor only, or the kernel doesn't tell.
std::optional<ProcessorSplit> split_processors();

// Keeps the calling thread, and what it starts meanwhile, to `processors`. Does nothing where there
// are none, or the kernel refuses.
class AffinityScope {
 public:
  explicit AffinityScope(const cpu_set_t* processors);
  ~AffinityScope();
  AffinityScope(const AffinityScope&) = delete;
  AffinityScope& operator=(const AffinityScope&) = delete;

 private:
  std::optional<cpu_set_t> before_;
};

}  // namespace fib
