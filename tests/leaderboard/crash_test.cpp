// A writer is killed at any moment: what it reported is there, and nothing half written.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "leaderboard/sqlite.h"
#include "tests/leaderboard/store_fixture.h"

namespace fib {
namespace {

using namespace fib::testing;

// Adds verdicts for ever and writes each id to `out` once add() has returned.
[[noreturn]] void write_for_ever(const std::filesystem::path& file, int out) {
  auto store = Store::open(file);
  if (!store) ::_exit(1);
  for (int i = 0;; ++i) {
    const auto id = add(**store, {.workload = fmt::format("w{}-{}", ::getpid(), i)});
    if (!id || ::write(out, &*id, sizeof(*id)) != sizeof(*id)) ::_exit(1);
  }
}

TEST(KilledWriter, LosesNothingThatWasReported) {
  ScratchFolder folder;
  const auto file = folder / "fib.db";
  std::vector<int64_t> reported;
  for (int round = 0; round < 5; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    if (child == 0) write_for_ever(file, ends[1]);
    ::close(ends[1]);
    int64_t id = 0;
    for (int i = 0; i < 5 + 3 * round && ::read(ends[0], &id, sizeof(id)) == sizeof(id); ++i) {
      reported.push_back(id);
    }
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the writer ended by itself";
    while (::read(ends[0], &id, sizeof(id)) == sizeof(id)) reported.push_back(id);
    ::close(ends[0]);
  }
  auto store = open_store(file);
  ASSERT_GE(reported.size(), 55u);
  for (int64_t id : reported) {
    const auto verdict = store->get(id);
    ASSERT_TRUE(verdict) << verdict.error().to_string();
    EXPECT_EQ(verdict->samples.size(), 1u);
  }
  // What the board reads agrees with the verdicts, killed transactions included.
  const Database database = Database::open(file).value();
  EXPECT_EQ(database.integer("SELECT count(*) FROM latest").value(),
            database.integer("SELECT count(*) FROM verdicts").value());
  EXPECT_EQ(database.integer("SELECT count(*) FROM samples").value(),
            database.integer("SELECT count(*) FROM verdicts").value());
}

TEST(TwoWriters, ShareOneStore) {
  ScratchFolder folder;
  const auto file = folder / "fib.db";
  constexpr int kEach = 40;
  std::vector<pid_t> children;
  for (int writer = 0; writer < 2; ++writer) {
    const pid_t child = ::fork();
    if (child == 0) {
      auto store = Store::open(file);
      if (!store) ::_exit(2);
      for (int i = 0; i < kEach; ++i) {
        if (!add(**store, {.solution = fmt::format("s{}", writer)})) ::_exit(3);
      }
      ::_exit(0);
    }
    children.push_back(child);
  }
  for (pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  auto store = open_store(file);
  EXPECT_EQ(store->count_verdicts().value(), 2 * kEach);
  EXPECT_EQ(store->board("")->size(), 2u);
}

}  // namespace
}  // namespace fib
