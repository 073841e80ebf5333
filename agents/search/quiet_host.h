#pragma once

// Builds beside measuring, where candidates are timed on the host's own processors: either some
// builds run or one measurement does. A measurement that waits goes before builds that wait, since
// a device that is asked for is what the search has least of.

#include <condition_variable>
#include <mutex>

namespace fib::agents {

enum class HostUse {
  kElsewhere,  // candidates are timed on a card: nobody waits for anybody
  kTimed,
};

class QuietHost {
 public:
  explicit QuietHost(HostUse use) : use_(use) {}

  // Held for as long as it lives.
  class Hold {
   public:
    ~Hold();
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    friend class QuietHost;
    Hold(QuietHost& host, int QuietHost::*count);
    QuietHost& host_;
    int QuietHost::*count_;
  };
  Hold build();    // waits while anything is measured or waits to be
  Hold measure();  // waits for what runs

 private:
  const HostUse use_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int building_ = 0, measuring_ = 0, waiting_ = 0;  // to measure
};

}  // namespace fib::agents
