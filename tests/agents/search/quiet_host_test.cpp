#include "agents/search/quiet_host.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace fib::agents {
namespace {

TEST(QuietHost, NothingIsBuiltWhileACandidateIsTimed) {
  QuietHost host(HostUse::kTimed);
  std::vector<std::string> events;
  std::thread builder;
  {
    const QuietHost::Hold hold = host.measure();
    builder = std::thread([&] {
      const QuietHost::Hold build = host.build();
      events.push_back("built");
    });
    events.push_back("measured");
  }
  builder.join();
  EXPECT_EQ(events, (std::vector<std::string>{"measured", "built"}));
}

TEST(QuietHost, NothingIsTimedWhileSomethingIsBuilt) {
  QuietHost host(HostUse::kTimed);
  std::vector<std::string> events;
  std::thread measurer;
  {
    const QuietHost::Hold one = host.build();
    const QuietHost::Hold two = host.build();  // builds run beside builds
    measurer = std::thread([&] {
      const QuietHost::Hold hold = host.measure();
      events.push_back("measured");
    });
    events.push_back("built");
  }
  measurer.join();
  EXPECT_EQ(events, (std::vector<std::string>{"built", "measured"}));
}

TEST(QuietHost, ACardIsNoneOfTheHostsBusiness) {
  QuietHost host(HostUse::kElsewhere);
  const QuietHost::Hold first = host.measure();
  const QuietHost::Hold second = host.measure();
  const QuietHost::Hold build = host.build();
}

}  // namespace
}  // namespace fib::agents
