// The search's decisions as properties: of order, resumes, bandit, islands, migration.

#include "agents/search/search.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "agents/search/bandit.h"
#include "agents/search/chance.h"
#include "agents/search/grid.h"

namespace fib::agents {
namespace {

constexpr auto kSuitsAll = [](const std::string&, int64_t) { return true; };

CandidateRecord seed_record(int64_t number, double speedup = 1.0) {
  return {.number = number,
          .proposer = "seed",
          .solution_key = "seed" + std::to_string(number),
          .fate = CandidateFate::kMeasured,
          .speedup = speedup,
          .speedup_low = speedup * 0.99,
          .speedup_high = speedup * 1.01};
}

// What becomes of a decision in a world where "good" sometimes improves on its parent, "bad" never
// does and "rude" refuses.
struct World {
  std::map<int64_t, CandidateRecord> records;

  CandidateRecord fate_of(const Decision& decision) {
    CandidateRecord record{.number = decision.number,
                           .island = decision.island,
                           .proposer = decision.proposer,
                           .parents = {decision.parent},
                           .seed = decision.seed,
                           .solution_key = "key" + std::to_string(decision.number),
                           .fate = CandidateFate::kMeasured,
                           .device_s = 1.0};
    if (decision.proposer == "rude") {
      record.fate = CandidateFate::kRefused;
      record.refusal = {"malformed", "no"};
      record.solution_key.clear();
      return record;
    }
    const bool is_lucky = decision.proposer == "good" && decision.seed % 4 == 0;
    const double parent = records.at(decision.parent).speedup;
    record.speedup = parent * (is_lucky ? 1.03 : 0.95);
    record.speedup_low = record.speedup * 0.99;
    record.speedup_high = record.speedup * 1.01;
    record.behaviour.code_bytes = 1024 << (decision.seed / 7 % 3);
    return record;
  }
};

std::string text_of(const Decision& it) {
  std::string text = std::to_string(it.number) + " island " + std::to_string(it.island) + " " +
                     it.proposer + " of " + std::to_string(it.parent) + " seed " +
                     std::to_string(it.seed) + " best " + std::to_string(it.best.value_or(-1));
  for (const int64_t other : it.others) text += " " + std::to_string(other);
  return text;
}

SearchOptions options_of(std::vector<std::string> proposers, int lag = 4) {
  return {.seed = 7, .islands = 3, .migration_interval = 10, .lag = lag, .proposers = proposers};
}

struct Course {
  std::vector<std::string> decisions;
  std::vector<CandidateRecord> records;
  std::map<std::string, int> asked;
};

// `held_back`: how many of the candidates that might be recorded wait until they have to be.
Course run_course(const SearchOptions& options, int64_t count, int held_back) {
  Course course;
  World world;
  Search search(options);
  for (int64_t number = 0; number < 2; ++number) {
    world.records[number] = seed_record(number, 1.0 + 0.1 * static_cast<double>(number));
    world.records[number].island = static_cast<int>(number % options.islands);
    search.record(world.records[number]);
  }
  int64_t recorded = 2;
  for (int64_t number = 2; number < count; ++number) {
    const int64_t may = number - held_back;
    while (recorded < std::max(search.known_to(number), may))
      search.record(world.records.at(recorded++));
    const auto decision = search.decide(number, kSuitsAll);
    if (!decision) break;
    course.decisions.push_back(text_of(*decision));
    ++course.asked[decision->proposer];
    world.records[number] = world.fate_of(*decision);
  }
  for (const auto& [number, record] : world.records) course.records.push_back(record);
  return course;
}

TEST(Search, TheOrderOfArrivalDoesNotMatter) {
  const SearchOptions options = options_of({"good", "bad", "rude"});
  const Course eager = run_course(options, 150, 0);
  EXPECT_EQ(eager.decisions, run_course(options, 150, 2).decisions);
  EXPECT_EQ(eager.decisions, run_course(options, 150, 3).decisions);
}

TEST(Search, AResumeFromAnyPrefixDecidesTheSame) {
  const SearchOptions options = options_of({"good", "bad"});
  const Course whole = run_course(options, 60, 3);
  for (size_t prefix = 2; prefix < 60; ++prefix) {
    Search search(options);
    for (size_t i = 0; i < prefix; ++i) search.record(whole.records[i]);
    for (size_t number = prefix; number < 60; ++number) {
      const auto decision = search.decide(static_cast<int64_t>(number), kSuitsAll);
      ASSERT_TRUE(decision);
      ASSERT_EQ(text_of(*decision), whole.decisions[number - 2]) << "resumed from " << prefix;
      search.record(whole.records[number]);
    }
  }
}

TEST(Search, AnotherSeedDecidesOtherwise) {
  SearchOptions options = options_of({"good", "bad"});
  const Course one = run_course(options, 60, 0);
  options.seed = 8;
  EXPECT_NE(one.decisions, run_course(options, 60, 0).decisions);
}

TEST(Search, AUselessProposerIsAskedRarelyButNeverNever) {
  const Course course = run_course(options_of({"good", "bad"}), 400, 0);
  EXPECT_GT(course.asked.at("good"), 2 * course.asked.at("bad"));
  // In every stretch as long as the bandit's memory it gets a chance.
  for (size_t start = 0; start + 120 <= course.decisions.size(); start += 20) {
    const auto begin = course.decisions.begin() + static_cast<std::ptrdiff_t>(start);
    EXPECT_TRUE(std::any_of(
        begin, begin + 120,
        [](const std::string& decision) { return decision.find(" bad of") != std::string::npos; }))
        << "from " << start;
  }
}

TEST(Search, AProposerThatIsAlwaysRefusedIsSetAside) {
  const Course course = run_course(options_of({"good", "rude"}, 1), 1500, 0);
  EXPECT_EQ(course.asked.at("rude"), kMostRefusals);
  EXPECT_EQ(course.decisions.size(), 1498u);
  // With nobody else the search has an end; those in flight were asked before it was known.
  EXPECT_EQ(run_course(options_of({"rude"}, 4), 400, 0).asked.at("rude"), kMostRefusals + 3);
}

TEST(Search, WhatIsExhaustedIsNotAskedAgain) {
  Search search(options_of({"tune"}, 1));
  search.record(seed_record(0));
  const auto decision = search.decide(1, kSuitsAll);
  ASSERT_TRUE(decision);
  search.record({.number = 1,
                 .island = 1,
                 .proposer = "tune",
                 .parents = {0},
                 .fate = CandidateFate::kRefused,
                 .refusal = {"exhausted", "all 12 configurations were tried"}});
  EXPECT_FALSE(search.decide(2, kSuitsAll));
  EXPECT_TRUE(search.set_aside().empty());
}

TEST(Search, TheEndOfABudgetIsNobodysFault) {
  Search search(options_of({"tune"}, 1));
  search.record(seed_record(0));
  for (int64_t number = 1; number <= 2 * kMostRefusals; ++number) {
    ASSERT_TRUE(search.decide(number, kSuitsAll));
    search.record({.number = number,
                   .island = static_cast<int>(number % 3),
                   .proposer = "tune",
                   .parents = {0},
                   .fate = CandidateFate::kRefused,
                   .refusal = {"budget", "the time was up"}});
  }
  EXPECT_TRUE(search.set_aside().empty());
}

TEST(Search, OnlyWhoSuitsIsAsked) {
  Search search(options_of({"tune", "mutate"}));
  search.record(seed_record(0));
  search.record(seed_record(1));
  const auto only_mutate_and_1 = [](const std::string& proposer, int64_t parent) {
    return proposer == "mutate" && parent == 1;
  };
  for (int64_t number = 2; number < 5; ++number) {
    const auto decision = search.decide(number, only_mutate_and_1);
    ASSERT_TRUE(decision);
    EXPECT_EQ(decision->proposer, "mutate");
    EXPECT_EQ(decision->parent, 1);
  }
  EXPECT_FALSE(search.decide(5, [](const std::string&, int64_t) { return false; }));
}

TEST(Search, WhereNothingIsRightSeedsAreThereToBeRepaired) {
  Search search(options_of({"llm"}));
  CandidateRecord wrong = seed_record(0);
  wrong.fate = CandidateFate::kFailed;
  search.record(wrong);
  const auto decision = search.decide(1, kSuitsAll);
  ASSERT_TRUE(decision);
  EXPECT_EQ(decision->parent, 0);
  EXPECT_FALSE(decision->best);
  EXPECT_FALSE(search.best());
}

TEST(Search, IslandsStayDifferentUntilOneIsVisited) {
  SearchOptions options = options_of({"tune"}, 1);
  options.islands = 2;
  options.migration_interval = 5;
  Search search(options);
  CandidateRecord fast = seed_record(1, 3.0);
  fast.island = 1;
  search.record(seed_record(0));
  search.record(fast);
  const auto add = [&](int64_t number, double speedup) {
    search.record({.number = number,
                   .island = static_cast<int>(number % 2),
                   .proposer = "tune",
                   .parents = {number % 2},
                   .solution_key = "k" + std::to_string(number),
                   .fate = CandidateFate::kMeasured,
                   .speedup = speedup,
                   .speedup_low = speedup,
                   .speedup_high = speedup});
  };
  // Each island's candidates descend from its own.
  for (int64_t number = 2; number < 10; ++number) {
    const auto decision = search.decide(number, kSuitsAll);
    ASSERT_TRUE(decision);
    EXPECT_EQ(decision->parent % 2, number % 2) << number;
    add(number, number % 2 == 0 ? 1.1 : 2.0);
    EXPECT_EQ(search.elites(0).front() % 2, 0);
  }
  // The fifth candidate of island 0 brings the neighbour's best.
  add(10, 1.0);
  EXPECT_EQ(search.elites(0).front(), 1);
  EXPECT_EQ(search.best(), 1);
}

TEST(Search, TheBestIsByTheLowerEnd) {
  Search search(options_of({"tune"}));
  CandidateRecord lucky = seed_record(0, 2.0);
  lucky.speedup_low = 0.5;
  search.record(lucky);
  search.record(seed_record(1, 1.5));
  EXPECT_EQ(search.best(), 1);
}

// Slower than the best and unlike it: somebody to begin with, and nobody's best.
TEST(Search, WhoWasBeatenInTheRaceCanBeTheEliteOfACell) {
  SearchOptions options = options_of({"tune"}, 1);
  options.islands = 1;
  Search search(options);
  search.record(seed_record(0));
  CandidateRecord beaten = seed_record(1, 3.0);
  beaten.proposer = "tune";
  beaten.parents = {0};
  beaten.fate = CandidateFate::kSlow;
  beaten.behaviour.code_bytes = 1 << 20;
  CandidateRecord slow = beaten;
  beaten.stage = CandidateStage::kRaced;
  slow.number = 2;
  slow.stage = CandidateStage::kScreened;
  slow.behaviour.code_bytes = 1 << 22;
  search.record(beaten);
  search.record(slow);
  EXPECT_EQ(search.elites(0), (std::vector<int64_t>{1, 0}));
  EXPECT_EQ(search.best(), 0);
}

TEST(Search, RefusesToBeAskedOutOfTurn) {
  Search search(options_of({"tune"}));
  search.record(seed_record(0));
  EXPECT_THROW(search.record(seed_record(2)), std::logic_error);
  EXPECT_THROW((void)search.decide(0, kSuitsAll), std::logic_error);
  EXPECT_THROW((void)search.decide(9, kSuitsAll), std::logic_error);
  EXPECT_THROW(Search(SearchOptions{}), std::logic_error);  // no proposers
}

TEST(SearchOptions, AreReadStrictly) {
  SearchOptions options = options_of({"tune", "llm"});
  options.seed = UINT64_MAX;
  const Json json = options.to_json();
  const auto again = SearchOptions::from_json(json, "x");
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ(again->to_json(), json);
  EXPECT_EQ(again->seed, UINT64_MAX);
  for (const auto& [field, value] : std::map<std::string, Json>{{"islands", 0},
                                                                {"lag", 0},
                                                                {"migration_interval", 0},
                                                                {"exploration", -1.0},
                                                                {"proposers", Json::array()},
                                                                {"seed", "7"},
                                                                {"lagg", 4}}) {
    Json broken = json;
    broken[field] = value;
    const auto refused = SearchOptions::from_json(broken, "x");
    ASSERT_FALSE(refused) << field;
    EXPECT_NE(refused.error().to_string().find(field), std::string::npos);
  }
  Json twice = json;
  twice["proposers"] = {"tune", "tune"};
  EXPECT_FALSE(SearchOptions::from_json(twice, "x"));
  twice["proposers"] = {"seed"};
  EXPECT_FALSE(SearchOptions::from_json(twice, "x"));
}

TEST(Bandit, TimeNotNumbersIsSharedWhereNothingTellsWhoIsBetter) {
  ProposerBandit bandit(1.0);
  const std::vector<std::string> names = {"cheap", "dear"};
  std::map<std::string, int> asked;
  for (int i = 0; i < 1000; ++i) {
    const std::string name = bandit.choose(names, {}, chance(1, i, ChanceFor::kProposer));
    ++asked[name];
    bandit.record(name, 0.0, name == "dear" ? 9.5 : 0.5);
  }
  EXPECT_NEAR(asked["cheap"] / static_cast<double>(asked["dear"]), 10.0, 4.0);
}

TEST(Bandit, NoticesThatTimesHaveChanged) {
  ProposerBandit bandit(1.0);
  const std::vector<std::string> names = {"a", "b"};
  std::map<std::string, int> late;
  for (int i = 0; i < 600; ++i) {
    const std::string name = bandit.choose(names, {}, chance(1, i, ChanceFor::kProposer));
    bandit.record(name, name == (i < 300 ? "a" : "b") ? 0.5 : 0.0, 1.0);
    if (i >= 450) ++late[name];
  }
  EXPECT_GT(late["b"], 2 * late["a"]);
}

TEST(Bandit, ThoseInFlightCountAsAsked) {
  ProposerBandit bandit(1.0);
  const std::vector<std::string> names = {"a", "b"};
  bandit.record("a", 0.2, 1.0);
  bandit.record("b", 0.2, 1.0);
  const std::vector<std::string> in_flight = {"a", "a"};
  EXPECT_EQ(bandit.choose(names, in_flight, 0.0), "b");
}

TEST(Grid, KeepsTheBestOfEachCell) {
  Grid grid;
  const Cell one{.bound = "memory"}, other{.bound = "compute"};
  EXPECT_EQ(grid.add({1, 1.0, one}), Grid::Arrival::kNewCell);
  EXPECT_EQ(grid.add({2, 0.5, one}), Grid::Arrival::kNoElite);
  EXPECT_EQ(grid.add({3, 0.7, other}), Grid::Arrival::kNewCell);
  EXPECT_EQ(grid.add({4, 1.5, one}), Grid::Arrival::kBetterElite);
  EXPECT_EQ(grid.add({4, 1.5, one}), Grid::Arrival::kNoElite);  // a visitor that is there already
  ASSERT_EQ(grid.elites().size(), 2u);
  EXPECT_EQ(grid.elites()[0].number, 4);
  EXPECT_EQ(grid.elites()[1].number, 3);
  EXPECT_EQ(grid.runners_up().front().number, 1);
}

TEST(CellOf, StepsFollowWhatMatters) {
  const Behaviour cpu{.relative_error = 2e-3, .code_bytes = 5000, .bound = "memory"};
  Behaviour more = cpu;
  more.relative_error = 9e-3;
  more.code_bytes = 8000;
  EXPECT_EQ(cell_of(cpu), cell_of(more));
  more.relative_error = 2e-2;
  EXPECT_NE(cell_of(cpu), cell_of(more));
  Behaviour larger = cpu;
  larger.code_bytes = 20000;
  EXPECT_NE(cell_of(cpu), cell_of(larger));
  const Behaviour cuda{.registers = 64, .shared_bytes = 1000};
  Behaviour fuller = cuda;
  fuller.registers = 65;
  EXPECT_NE(cell_of(cuda), cell_of(fuller));
  fuller = cuda;
  fuller.shared_bytes = 60000;
  EXPECT_NE(cell_of(cuda), cell_of(fuller));
  EXPECT_EQ(cell_of({}), cell_of({}));  // nothing known is a cell too
  EXPECT_NO_FATAL_FAILURE((void)cell_of({.relative_error = INFINITY}));
}

TEST(Chance, IsAFunctionOfWhatItIsAskedFor) {
  EXPECT_EQ(chance_bits(1, 2, ChanceFor::kParent), chance_bits(1, 2, ChanceFor::kParent));
  EXPECT_NE(chance_bits(1, 2, ChanceFor::kParent), chance_bits(1, 3, ChanceFor::kParent));
  EXPECT_NE(chance_bits(1, 2, ChanceFor::kParent), chance_bits(1, 2, ChanceFor::kControl));
  EXPECT_NE(chance_bits(1, 2, ChanceFor::kParent), chance_bits(2, 2, ChanceFor::kParent));
  double sum = 0.0;
  for (int64_t number = 0; number < 1000; ++number) {
    const double draw = chance(5, number, ChanceFor::kParent);
    ASSERT_GE(draw, 0.0);
    ASSERT_LT(draw, 1.0);
    sum += draw;
  }
  EXPECT_NEAR(sum / 1000, 0.5, 0.05);
}

}  // namespace
}  // namespace fib::agents
