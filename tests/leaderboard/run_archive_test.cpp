#include "leaderboard/run_archive.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <limits>
#include <thread>

#include "leaderboard/candidate_json.h"
#include "leaderboard/sqlite.h"
#include "tests/leaderboard/store_fixture.h"

namespace fib {

// What a failed comparison shows.
void PrintTo(const CandidateRecord& candidate, std::ostream* out) {
  *out << dump_json(candidate_to_json(candidate));
}

namespace {

using namespace fib::testing;
using ::testing::HasSubstr;

std::unique_ptr<RunArchive> open_archive(const std::filesystem::path& file) {
  auto archive = RunArchive::open(file);
  if (!archive) {
    ADD_FAILURE() << archive.error().to_string();
    return nullptr;
  }
  return *std::move(archive);
}

RunRecord make_run() {
  RunRecord run;
  run.signature = "rmsnorm_h4096";
  run.target = "cpu";
  run.hardware = "TEST_CPU";
  run.options = Json{{"seed", 7}, {"proposers", {"tune", "mutate"}}};
  return run;
}

CandidateRecord make_candidate(int64_t run, int64_t number, double speedup = 0.0) {
  CandidateRecord candidate;
  candidate.run = run;
  candidate.number = number;
  candidate.proposer = "tune";
  candidate.solution_key = fmt::format("key-{}", number);
  if (speedup > 0.0) {
    candidate.fate = CandidateFate::kMeasured;
    candidate.stage = CandidateStage::kJudged;
    candidate.speedup = speedup;
    candidate.speedup_low = speedup - 0.1;
    candidate.speedup_high = speedup + 0.1;
  }
  return candidate;
}

// Every field with a value that no other has and that none has by default.
CandidateRecord full_candidate(int64_t run, int64_t number) {
  CandidateRecord candidate;
  candidate.run = run;
  candidate.number = number;
  candidate.island = 2;
  candidate.proposer = "llm";
  candidate.parents = {3, 1};
  candidate.seed = 0xfedcba9876543210;
  candidate.solution_key = "key";
  candidate.solution_name = "näme";
  candidate.note = "TILE 64 -> 128";
  candidate.stage = CandidateStage::kConfirmed;
  candidate.fate = CandidateFate::kMeasured;
  candidate.refusal = {"tried-before", "it is #3"};
  candidate.code_key = "code";
  candidate.duplicate_of = 0;
  candidate.speedup = 1.25;
  candidate.speedup_low = 1.125;
  candidate.speedup_high = 1.375;
  candidate.screen_speedup = 1.5;
  candidate.is_confirmed = true;
  candidate.judged_speedup = 1.75;
  candidate.behaviour = {.relative_error = 1e-3,
                         .registers = 40,
                         .shared_bytes = 1024,
                         .spilled_bytes = 8,
                         .code_bytes = 4096,
                         .roofline_fraction = 0.5,
                         .bound = "memory"};
  candidate.verdicts = {11, 12};
  candidate.feedback = Json{{"compiles", true}, {"notes", {"a", nullptr}}};
  candidate.cost = {.seconds = 2.5, .prompt_tokens = 100, .answer_tokens = 50, .money = 0.0625};
  candidate.build_s = 3.5;
  candidate.device_s = 4.5;
  candidate.timestamp = "2026-01-02T03:04:05";
  return candidate;
}

class RunArchiveTest : public ::testing::Test {
 protected:
  ScratchFolder folder_;
  const std::filesystem::path file_ = folder_ / "fib.db";
};

TEST_F(RunArchiveTest, KeepsARun) {
  const auto archive = open_archive(file_);
  const int64_t id = archive->begin(make_run()).value();
  const auto run = archive->run(id);
  ASSERT_TRUE(run) << run.error().to_string();
  EXPECT_EQ(run->id, id);
  EXPECT_EQ(run->signature, "rmsnorm_h4096");
  EXPECT_EQ(run->target, "cpu");
  EXPECT_EQ(run->hardware, "TEST_CPU");
  EXPECT_EQ(run->options, make_run().options);
  EXPECT_EQ(run->state, RunState::kRunning);
  EXPECT_EQ(run->started.size(), std::string("2026-01-02T03:04:05").size());
  EXPECT_GE(run->active_s, 0.0);
  ASSERT_TRUE(archive->end(id, RunState::kFinished, "budget: 200 candidates"));
  EXPECT_EQ(archive->run(id)->state, RunState::kFinished);
  EXPECT_EQ(archive->run(id)->end_reason, "budget: 200 candidates");
}

TEST_F(RunArchiveTest, ListsTheNewestRunFirst) {
  const auto archive = open_archive(file_);
  const int64_t first = archive->begin(make_run()).value();
  const int64_t second = archive->begin(make_run()).value();
  const auto runs = archive->runs().value();
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].id, second);
  EXPECT_EQ(runs[1].id, first);
}

TEST_F(RunArchiveTest, KeepsEveryFieldOfACandidate) {
  const auto archive = open_archive(file_);
  const int64_t run = archive->begin(make_run()).value();
  ASSERT_TRUE(archive->add(full_candidate(run, 4)));
  EXPECT_EQ(archive->candidate(run, 4).value(), full_candidate(run, 4));
  const CandidateRecord empty{.run = run};
  ASSERT_TRUE(archive->add(empty));
  EXPECT_EQ(archive->candidate(run, 0).value(), empty);
  EXPECT_FALSE(archive->candidate(run, 0)->duplicate_of);
  EXPECT_TRUE(archive->candidate(run, 0)->feedback.is_null());
}

TEST_F(RunArchiveTest, KeepsNumbersThatAreNotFinite) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const auto archive = open_archive(file_);
  const int64_t run = archive->begin(make_run()).value();
  CandidateRecord candidate = make_candidate(run, 0, 2.0);
  candidate.speedup_low = -kInfinity;
  candidate.speedup_high = kInfinity;
  candidate.behaviour.relative_error = std::nan("");
  ASSERT_TRUE(archive->add(candidate));
  const CandidateRecord read = archive->candidate(run, 0).value();
  EXPECT_EQ(read.speedup_low, -kInfinity);
  EXPECT_EQ(read.speedup_high, kInfinity);
  EXPECT_TRUE(std::isnan(read.behaviour.relative_error));
  EXPECT_FALSE(archive->totals(run)->best) << "nobody knows how fast it is";
}

TEST_F(RunArchiveTest, KeepsExchangesByteForByte) {
  const auto archive = open_archive(file_);
  const int64_t run = archive->begin(make_run()).value();
  const std::string odd("nul \0 and no UTF-8 \xff", 21);
  ASSERT_TRUE(archive->add(make_candidate(run, 0), {{"stdin", "{}"}, {"stdout", odd}, {"", ""}}));
  const auto exchanges = archive->exchanges(run, 0).value();
  ASSERT_EQ(exchanges.size(), 3u);
  EXPECT_EQ(exchanges[0].role, "stdin");
  EXPECT_EQ(exchanges[1].content, odd);
  EXPECT_EQ(exchanges[2].content, "");
  EXPECT_TRUE(archive->exchanges(run, 1)->empty());
}

TEST_F(RunArchiveTest, SumsUpAndFindsTheBestByTheLowerEnd) {
  const auto archive = open_archive(file_);
  const int64_t run = archive->begin(make_run()).value();
  EXPECT_FALSE(archive->totals(run)->best);
  CandidateRecord noisy = make_candidate(run, 0, 3.0);
  noisy.speedup_low = 1.0;
  noisy.cost.money = 0.5;
  noisy.device_s = 2.0;
  CandidateRecord wrong = make_candidate(run, 1, 9.0);
  wrong.fate = CandidateFate::kFailed;
  wrong.cost.money = 0.25;
  ASSERT_TRUE(archive->add(noisy));
  ASSERT_TRUE(archive->add(wrong));
  ASSERT_TRUE(archive->add(make_candidate(run, 2, 2.0)));
  ASSERT_TRUE(archive->add(make_candidate(run, 3, 2.0)));
  const RunTotals totals = archive->totals(run).value();
  EXPECT_EQ(totals.candidates, 4);
  EXPECT_EQ(totals.measured, 3);
  EXPECT_EQ(totals.money, 0.75);
  EXPECT_EQ(totals.device_s, 2.0);
  EXPECT_EQ(totals.best, 2);
  EXPECT_EQ(totals.speedup, 2.0);
  EXPECT_EQ(totals.speedup_high, 2.1);
}

TEST_F(RunArchiveTest, AConfirmationReplacesTheNumbers) {
  const auto archive = open_archive(file_);
  const int64_t run = archive->begin(make_run()).value();
  ASSERT_TRUE(archive->add(make_candidate(run, 0, 2.0), {{"user", "faster, please"}}));
  CandidateRecord afresh = make_candidate(run, 0, 1.5);
  afresh.is_confirmed = true;
  afresh.stage = CandidateStage::kConfirmed;
  ASSERT_TRUE(archive->confirm(afresh));
  EXPECT_EQ(archive->candidate(run, 0).value(), afresh);
  EXPECT_EQ(archive->totals(run)->speedup, 1.5);
  EXPECT_EQ(archive->exchanges(run, 0)->size(), 1u);

  EXPECT_EQ(archive->confirm(make_candidate(run, 1, 2.0)).error().code, ErrorCode::kNotFound);
  afresh.solution_key = "of another solution";
  EXPECT_EQ(archive->confirm(afresh).error().code, ErrorCode::kNotFound);
}

TEST_F(RunArchiveTest, RefusesWhatBreaksItsRules) {
  const auto archive = open_archive(file_);
  const int64_t run = archive->begin(make_run()).value();
  ASSERT_TRUE(archive->add(make_candidate(run, 0, 2.0)));
  const auto again = archive->add(make_candidate(run, 0, 3.0), {{"user", "hello"}});
  EXPECT_EQ(again.error().code, ErrorCode::kConflict);
  EXPECT_THAT(again.error().where, HasSubstr("run 1, candidate 0"));
  EXPECT_EQ(archive->candidate(run, 0)->speedup, 2.0);
  EXPECT_TRUE(archive->exchanges(run, 0)->empty());

  CandidateRecord candidate = make_candidate(run, 5);
  candidate.parents = {0, 5};
  EXPECT_THAT(archive->add(candidate).error().message, HasSubstr("its parent 5"));
  candidate.parents = {-1};
  EXPECT_EQ(archive->add(candidate).error().code, ErrorCode::kInvalidInput);
  candidate.parents = {};
  candidate.duplicate_of = 7;
  EXPECT_THAT(archive->add(candidate).error().message, HasSubstr("its twin 7"));
  EXPECT_THAT(archive->add(make_candidate(run, -1)).error().message, HasSubstr("from 0"));
}

TEST_F(RunArchiveTest, SaysThatThereIsNoSuchRun) {
  const auto archive = open_archive(file_);
  const auto expect_unknown = [&](const auto& result) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::kNotFound);
    EXPECT_EQ(result.error().message, "there is no run 9");
    EXPECT_EQ(result.error().where, file_.string());
    EXPECT_THAT(result.error().remedy, HasSubstr("fib agent list"));
  };
  expect_unknown(archive->run(9));
  expect_unknown(archive->totals(9));
  expect_unknown(archive->candidates(9));
  expect_unknown(archive->candidate(9, 0));
  expect_unknown(archive->exchanges(9, 0));
  expect_unknown(archive->resume(9));
  expect_unknown(archive->change_options(9, Json::object()));
  expect_unknown(archive->end(9, RunState::kStopped, ""));
  expect_unknown(archive->add(make_candidate(9, 0)));
  expect_unknown(archive->confirm(make_candidate(9, 0)));
  const int64_t run = archive->begin(make_run()).value();
  EXPECT_THAT(archive->candidate(run, 3).error().message, HasSubstr("no candidate 3"));
}

TEST_F(RunArchiveTest, NamesADamagedCandidate) {
  const auto archive = open_archive(file_);
  const int64_t run = archive->begin(make_run()).value();
  ASSERT_TRUE(archive->add(make_candidate(run, 0)));
  const Database database = Database::open(file_).value();
  const auto expect_refused = [&](std::string_view document, std::string_view message) {
    ASSERT_TRUE(database.run("UPDATE candidates SET document = ?1", document));
    const auto candidates = archive->candidates(run);
    ASSERT_FALSE(candidates) << document;
    EXPECT_THAT(candidates.error().to_string(), HasSubstr("run 1, candidate 0"));
    EXPECT_THAT(candidates.error().to_string(), HasSubstr(std::string(message)));
  };
  expect_refused("{", "");
  expect_refused("{}", "run");
  Json document = candidate_to_json(make_candidate(run, 0));
  document["fate"] = "lost";
  expect_refused(dump_json(document), "/fate: unknown value 'lost'");
  document["fate"] = "slow";
  document["seed"] = "18446744073709551616";
  expect_refused(dump_json(document), "/seed: expected an integer of 64 bits in quotes");
  document["seed"] = "1";
  document["parents"] = {0};
  expect_refused(dump_json(document), "its parent 0 doesn't come before it");
  ASSERT_TRUE(database.run("UPDATE runs SET state = 'asleep'"));
  EXPECT_THAT(archive->runs().error().message, HasSubstr("'asleep'"));
}

TEST_F(RunArchiveTest, OneArchiveIsSharedByThreads) {
  const auto archive = open_archive(file_);
  const int64_t run = archive->begin(make_run()).value();
  constexpr int64_t kThreads = 4, kEach = 10;
  std::vector<std::thread> threads;
  for (int64_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int64_t i = 0; i < kEach; ++i) {
        EXPECT_TRUE(archive->add(make_candidate(run, kThreads * i + thread), {{"user", "x"}}));
        EXPECT_TRUE(archive->candidates(run));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto candidates = archive->candidates(run).value();
  ASSERT_EQ(candidates.size(), static_cast<size_t>(kThreads * kEach));
  for (int64_t i = 0; i < kThreads * kEach; ++i) EXPECT_EQ(candidates[i].number, i);
}

// ---- Who has a run

TEST_F(RunArchiveTest, ARunHasOneOwner) {
  const auto owner = open_archive(file_);
  const int64_t run = owner->begin(make_run()).value();
  const auto other = open_archive(file_);
  EXPECT_EQ(other->run(run)->state, RunState::kRunning);
  const Error taken = other->resume(run).error();
  EXPECT_EQ(taken.code, ErrorCode::kConflict);
  EXPECT_THAT(taken.message, HasSubstr(fmt::format("in process {}", ::getpid())));
  EXPECT_EQ(other->add(make_candidate(run, 0)).error().code, ErrorCode::kConflict);
  EXPECT_EQ(other->confirm(make_candidate(run, 0)).error().code, ErrorCode::kConflict);
  EXPECT_EQ(other->end(run, RunState::kStopped, "").error().code, ErrorCode::kConflict);
  const Json options = {{"budget", "more"}};
  EXPECT_EQ(other->change_options(run, options).error().code, ErrorCode::kConflict);
  EXPECT_NE(owner->run(run)->options, options);
  ASSERT_TRUE(owner->change_options(run, options));
  EXPECT_EQ(other->run(run)->options, options);

  EXPECT_TRUE(owner->resume(run)) << "it has it already";
  ASSERT_TRUE(owner->end(run, RunState::kStopped, "interrupted"));
  EXPECT_EQ(owner->add(make_candidate(run, 0)).error().code, ErrorCode::kConflict);
  ASSERT_TRUE(other->resume(run));
  EXPECT_EQ(owner->run(run)->state, RunState::kRunning);
  EXPECT_EQ(owner->run(run)->end_reason, "");
  EXPECT_TRUE(other->add(make_candidate(run, 0)));
}

TEST_F(RunArchiveTest, AClosedArchiveGivesItsRunsBack) {
  const int64_t run = open_archive(file_)->begin(make_run()).value();
  const auto archive = open_archive(file_);
  EXPECT_EQ(archive->run(run)->state, RunState::kStopped);
  EXPECT_EQ(archive->run(run)->end_reason, "killed");
  EXPECT_TRUE(archive->resume(run));
}

TEST_F(RunArchiveTest, ACopyOfAStoreHasNoRunUnderWay) {
  const auto archive = open_archive(file_);
  const int64_t run = archive->begin(make_run()).value();
  {
    const Database database = Database::open(file_).value();
    ASSERT_TRUE(database.run(fmt::format("VACUUM INTO '{}'", (folder_ / "copy.db").string())));
  }
  EXPECT_EQ(open_archive(folder_ / "copy.db")->run(run)->state, RunState::kStopped);
}

TEST_F(RunArchiveTest, AStoreSetAsideKeepsItsRunToItself) {
  const auto archive = open_archive(file_);
  ASSERT_TRUE(archive->begin(make_run()));
  std::filesystem::rename(file_, folder_ / "aside.db");
  for (const char* suffix : {"-wal", "-shm"}) {
    std::filesystem::rename(file_.string() + suffix, (folder_ / "aside.db").string() + suffix);
  }
  const auto begun = open_archive(file_)->begin(make_run());
  ASSERT_FALSE(begun);
  EXPECT_EQ(begun.error().code, ErrorCode::kConflict);
  EXPECT_TRUE(open_archive(file_)->runs()->empty()) << "nothing half begun";
}

// What lies between a process and its death by SIGKILL: it adds candidates and says which.
[[noreturn]] void search_for_ever(const std::filesystem::path& file, int64_t run, int out) {
  auto archive = RunArchive::open(file);
  if (!archive) ::_exit(1);
  if (run == 0) {
    auto begun = (*archive)->begin(make_run());
    if (!begun) ::_exit(2);
    run = *begun;
  } else if (!(*archive)->resume(run)) {
    ::_exit(3);
  }
  for (int64_t i = static_cast<int64_t>((*archive)->candidates(run)->size());; ++i) {
    if (!(*archive)->add(make_candidate(run, i), {{"user", "x"}})) ::_exit(4);
    if (::write(out, &i, sizeof(i)) != sizeof(i)) ::_exit(5);
  }
}

TEST_F(RunArchiveTest, AKilledRunIsStoppedLosesNothingAndGoesOn) {
  int64_t reported = -1;
  for (int round = 0; round < 3; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    if (child == 0) search_for_ever(file_, round == 0 ? 0 : 1, ends[1]);
    ::close(ends[1]);
    for (int i = 0; i < 5; ++i) {
      int64_t number = -1;
      ASSERT_EQ(::read(ends[0], &number, sizeof(number)), ssize_t{sizeof(number)});
      EXPECT_EQ(number, reported + 1);
      reported = number;
    }
    {
      const auto archive = open_archive(file_);
      EXPECT_EQ(archive->run(1)->state, RunState::kRunning);
      const Error taken = archive->resume(1).error();
      EXPECT_EQ(taken.code, ErrorCode::kConflict);
      EXPECT_THAT(taken.message, HasSubstr(fmt::format("in process {}", child)));
    }
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it ended by itself: " << WEXITSTATUS(status);
    for (int64_t number; ::read(ends[0], &number, sizeof(number)) == sizeof(number);) {
      reported = number;
    }
    ::close(ends[0]);
    const auto archive = open_archive(file_);
    EXPECT_EQ(archive->run(1)->state, RunState::kStopped);
    const auto candidates = archive->candidates(1).value();
    ASSERT_GT(static_cast<int64_t>(candidates.size()), reported);
    // One may have been committed that was not reported; what is there is whole.
    reported = candidates.back().number;
    EXPECT_EQ(static_cast<int64_t>(candidates.size()), reported + 1);
    EXPECT_EQ(archive->exchanges(1, reported)->size(), 1u);
  }
}

TEST_F(RunArchiveTest, TwoProcessesSearchInOneStore) {
  constexpr int kEach = 20;
  std::vector<pid_t> children;
  for (int process = 0; process < 2; ++process) {
    const pid_t child = ::fork();
    if (child == 0) {
      auto archive = RunArchive::open(file_);
      if (!archive) ::_exit(2);
      const auto run = (*archive)->begin(make_run());
      if (!run) ::_exit(3);
      for (int i = 0; i < kEach; ++i) {
        if (!(*archive)->add(make_candidate(*run, i))) ::_exit(4);
      }
      ::_exit((*archive)->end(*run, RunState::kFinished, "done") ? 0 : 5);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  const auto archive = open_archive(file_);
  const std::vector<RunRecord> runs = archive->runs().value();
  ASSERT_EQ(runs.size(), 2u);
  for (const RunRecord& run : runs) {
    EXPECT_EQ(run.state, RunState::kFinished);
    EXPECT_EQ(archive->totals(run.id)->candidates, kEach);
  }
}

TEST(Names, AreThoseOfTheDocuments) {
  EXPECT_EQ(run_state_name(RunState::kStopped), "stopped");
  EXPECT_EQ(candidate_stage_name(CandidateStage::kConfirmed), "confirmed");
  EXPECT_EQ(candidate_fate_name(CandidateFate::kMeasured), "measured");
  for (const RunState state : {RunState::kRunning, RunState::kFinished, RunState::kStopped}) {
    EXPECT_EQ(run_state_from_name(run_state_name(state)), state);
  }
  EXPECT_FALSE(run_state_from_name("asleep"));
}

}  // namespace
}  // namespace fib
