#include "agents/proposers/tune.h"

#include <set>

#include "agents/proposers/tune/trials.h"
#include "tests/agents/proposers/tune_fixture.h"

namespace fib::agents {
namespace {

DesignSpace space_of(const Solution& solution) { return *design_space_of(solution); }

ProposalOutcome propose(const ProposalRequest& request,
                        TuneStrategy strategy = TuneStrategy::kSurrogate) {
  auto outcome = make_tune_proposer({.strategy = strategy})->propose(request);
  EXPECT_TRUE(outcome) << outcome.error().to_string();
  return *std::move(outcome);
}

TEST(Tune, SuitsSolutionsWithSomethingToTune) {
  const auto proposer = make_tune_proposer();
  EXPECT_EQ(proposer->name(), "tune");
  EXPECT_TRUE(proposer->suits(tunable_solution()));
  Solution solution = tunable_solution();
  for (auto& [name, tunable] : solution.fib["tunables"].items()) {
    tunable["values"] = Json::array({tunable["initial"]});
  }
  EXPECT_FALSE(proposer->suits(solution)) << "one value each is no choice";
  for (const char* key : {"tunables", "constraints"}) solution.fib.erase(key);
  EXPECT_FALSE(proposer->suits(solution));
  solution.fib["tunables"] = 3;
  EXPECT_FALSE(proposer->suits(solution));
}

TEST(Tune, SetsTheParentOtherwiseAndSaysHow) {
  const TuningSearch search;
  const ProposalOutcome outcome = propose(search.request(1));
  ASSERT_TRUE(outcome.solution);
  EXPECT_FALSE(outcome.refusal);
  const DesignSpace space = space_of(tunable_solution());
  const Configuration configuration = *configuration_of(*outcome.solution, space);
  EXPECT_NE(configuration, (Configuration{32, 3}));
  EXPECT_TRUE(*admits(space, configuration, *signature_of_width(128)));
  EXPECT_EQ(outcome.note, note_of(space, {32, 3}, configuration));
  EXPECT_EQ(outcome.solution->sources[0].content, tunable_solution().sources[0].content);
}

TEST(Tune, IsAFunctionOfTheRequest) {
  TuningSearch search;
  search.add(propose(search.request(3)), 1.2);
  std::set<std::string> keys;
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    const auto first = propose(search.request(seed)), second = propose(search.request(seed));
    EXPECT_EQ(solution_key(*first.solution), solution_key(*second.solution));
    keys.insert(solution_key(*first.solution));
  }
  EXPECT_GT(keys.size(), 2u) << "other seeds, other proposals";
}

TEST(Tune, TriesEachAdmittedConfigurationOnceAndIsThenExhausted) {
  for (const TuneStrategy strategy : tune_strategies()) {
    TuningSearch search;
    std::set<std::string> keys = {solution_key(tunable_solution())};
    // TILE * STAGES <= 384 excludes 128 * 4 of the 12.
    for (uint64_t seed = 1; seed <= 10; ++seed) {
      const ProposalOutcome outcome = propose(search.request(seed), strategy);
      ASSERT_TRUE(outcome.solution) << tune_strategy_name(strategy) << " " << seed;
      EXPECT_TRUE(keys.insert(solution_key(*outcome.solution)).second) << outcome.note;
      CandidateRecord& record = search.add(outcome, 1.0 + 0.01 * static_cast<double>(seed)).record;
      if (seed % 3 == 0) record.fate = CandidateFate::kFailed;
      if (seed % 4 == 0) record.fate = CandidateFate::kSlow;
    }
    const ProposalOutcome outcome = propose(search.request(99), strategy);
    ASSERT_TRUE(outcome.refusal);
    EXPECT_FALSE(outcome.solution);
    EXPECT_EQ(outcome.refusal->reason, "exhausted");
  }
}

// What others have made is found by its key, though its note says nothing.
TEST(Tune, ProposesNothingThatTheRunHasHad) {
  TuningSearch search;
  const DesignSpace space = space_of(tunable_solution());
  ProposalOutcome outcome;
  for (const Configuration& one : {Configuration{16, 2},
                                   {16, 3},
                                   {16, 4},
                                   {32, 2},
                                   {32, 4},
                                   {64, 2},
                                   {64, 3},
                                   {64, 4},
                                   {128, 2}}) {
    outcome.solution = *with_configuration(tunable_solution(), space, one);
    outcome.note = "an alternative block";
    search.add(outcome, 1.1);
  }
  for (const TuneStrategy strategy : tune_strategies()) {
    const ProposalOutcome last = propose(search.request(5), strategy);
    ASSERT_TRUE(last.solution);
    EXPECT_EQ(*configuration_of(*last.solution, space), (Configuration{128, 3}));
  }
}

TEST(Tune, RefusesForAParentWhoseDeclarationsDoNotHold) {
  TuningSearch search;
  ProposalRequest request = search.request(1);
  request.parent.solution.fib["constraints"] = {"TILE < widht"};
  ProposalOutcome outcome = propose(request);
  ASSERT_TRUE(outcome.refusal);
  EXPECT_EQ(outcome.refusal->reason, "malformed");
  EXPECT_NE(outcome.refusal->message.find("did you mean 'width'?"), std::string::npos);
  request.parent.solution.fib["constraints"] = {"TILE % (STAGES - 3) == 0"};
  EXPECT_EQ(propose(request).refusal->reason, "malformed") << "divides by zero";
  request.parent.solution.fib["tunables"]["TILE"]["initial"] = 33;
  EXPECT_EQ(propose(request).refusal->reason, "malformed");
  request = search.request(1);
  request.signature = signature_of_width(8);
  EXPECT_EQ(propose(request).refusal->reason, "exhausted") << "nothing is admitted";
}

TEST(Tune, DrawsFromSpacesTooLargeToList) {
  TuningSearch search;
  Solution large = tunable_solution();
  Json values = Json::array();
  for (int value = 1; value <= 60; ++value) values.push_back(value);
  std::string source;
  large.fib.erase("constraints");
  large.fib["tunables"] = Json::object();
  for (const char* name : {"A", "B", "C", "D", "E"}) {
    large.fib["tunables"][name] = {{"values", values}, {"initial", 1}};
    source += std::string("int ") + name + "_ = " + name + ";\n";
  }
  large.fib["constraints"] = {"A + B >= 60"};
  large.sources = {{"solution.cpp", source}};
  const DesignSpace space = space_of(large);
  for (const TuneStrategy strategy : tune_strategies()) {
    TuningSearch fresh;
    std::set<std::string> keys;
    for (uint64_t seed = 1; seed <= 25; ++seed) {
      ProposalRequest request = fresh.request(seed);
      request.parent = {large, measured_record(0, large, 1.0)};
      const ProposalOutcome outcome = propose(request, strategy);
      ASSERT_TRUE(outcome.solution) << tune_strategy_name(strategy);
      EXPECT_TRUE(keys.insert(solution_key(*outcome.solution)).second);
      const Configuration found = *configuration_of(*outcome.solution, space);
      EXPECT_GE(found[0] + found[1], 60);
      fresh.add(outcome, 1.0 + 0.001 * static_cast<double>(found[2]));
    }
  }
}

TEST(TuneNotes, AreReadBackAsTheyWereWritten) {
  const DesignSpace space = space_of(tunable_solution());
  EXPECT_EQ(note_of(space, {32, 3}, {128, 3}), "TILE 32 -> 128, STAGES 3");
  for (const Configuration& one : {Configuration{128, 3}, {16, 2}, {32, 3}}) {
    EXPECT_EQ(configuration_in_note(space, note_of(space, {32, 3}, one)), one);
  }
  for (const char* other : {"", "dot: lanes", "TILE 128", "TILE 128, STAGES x", "TILE , STAGES 3",
                            "STAGES 3, TILE 128", "TILE 128, STAGES 3, MORE 4"}) {
    EXPECT_FALSE(configuration_in_note(space, other)) << other;
  }
}

class KnownTrialsTest : public testing::Test {
 protected:
  // A candidate with this configuration and what `change` makes of its record.
  void add(const Configuration& configuration, const std::function<void(Ancestor&)>& change) {
    ProposalOutcome outcome;
    const DesignSpace space = space_of(tunable_solution());
    outcome.solution = *with_configuration(tunable_solution(), space, configuration);
    outcome.note = note_of(space, {32, 3}, configuration);
    change(search_.add(outcome, 1.5));
  }
  std::vector<Trial> trials() {
    request_ = search_.request(1);
    return KnownTrials(request_, space_of(tunable_solution())).trials();
  }

  TuningSearch search_;
  ProposalRequest request_;
};

TEST_F(KnownTrialsTest, TakeSpeedAndNoiseFromWhatWasMeasured) {
  add({64, 3}, [](Ancestor&) {});
  add({64, 4}, [](Ancestor& one) {
    one.record.fate = CandidateFate::kSlow;
    one.record.screen_speedup = 0.5;
  });
  add({16, 2}, [](Ancestor& one) {
    one.record.fate = CandidateFate::kSlow;
    one.record.stage = CandidateStage::kRaced;
    one.record.screen_speedup = 0.5;
  });
  const auto known = trials();
  ASSERT_EQ(known.size(), 4u);
  EXPECT_EQ(known[0].point, (Point{1, 1}));  // the parent
  EXPECT_DOUBLE_EQ(*known[0].log_speedup, 0.0);
  EXPECT_EQ(known[1].point, (Point{2, 1}));
  EXPECT_DOUBLE_EQ(*known[1].log_speedup, std::log(1.5));
  EXPECT_NEAR(known[1].noise, 0.0102, 1e-4);
  EXPECT_DOUBLE_EQ(*known[2].log_speedup, std::log(0.5));
  EXPECT_GT(known[2].noise, known[1].noise);
  EXPECT_DOUBLE_EQ(*known[3].log_speedup, std::log(1.5)) << "what the race said, and how surely";
  EXPECT_DOUBLE_EQ(known[3].noise, known[1].noise);
}

TEST_F(KnownTrialsTest, ReadFailuresAndDuplicates) {
  add({64, 3}, [](Ancestor& one) { one.record.fate = CandidateFate::kFailed; });
  add({64, 4}, [](Ancestor& one) {
    one.record.fate = CandidateFate::kDuplicate;
    one.record.duplicate_of = 0;
  });
  add({16, 2}, [](Ancestor& one) {
    one.record.fate = CandidateFate::kDuplicate;
    one.record.duplicate_of = 1;
  });
  const auto known = trials();
  ASSERT_EQ(known.size(), 4u);
  EXPECT_FALSE(known[1].log_speedup);
  EXPECT_DOUBLE_EQ(*known[2].log_speedup, 0.0) << "as fast as the parent, whose code it has";
  EXPECT_FALSE(known[3].log_speedup);
}

TEST_F(KnownTrialsTest, BelieveNoNoteWithoutTheVerySolution) {
  add({64, 3}, [](Ancestor& one) {
    one.solution.sources[0].content += "// changed\n";
    one.record.solution_key = solution_key(one.solution);
  });
  add({64, 4}, [](Ancestor& one) { one.record.note = "TILE 16, STAGES 2"; });
  EXPECT_EQ(trials().size(), 1u) << "only the parent";
}

TEST_F(KnownTrialsTest, LearnFromSeedsThatAreTheParentSetOtherwise) {
  request_ = search_.request(1);
  const DesignSpace space = space_of(tunable_solution());
  Solution seed = *with_configuration(tunable_solution(), space, {128, 2});
  request_.others = {{seed, measured_record(1, seed, 2.0)}};
  seed.sources[0].content += "// another kernel\n";
  request_.others.push_back({seed, measured_record(2, seed, 3.0)});
  const KnownTrials known(request_, space);
  ASSERT_EQ(known.trials().size(), 2u);
  EXPECT_EQ(known.trials()[1].point, (Point{3, 0}));
  EXPECT_DOUBLE_EQ(*known.trials()[1].log_speedup, std::log(2.0));
}

TEST(TuneStrategies, HaveNames) {
  for (const TuneStrategy strategy : tune_strategies()) {
    EXPECT_EQ(*tune_strategy_from_name(tune_strategy_name(strategy)), strategy);
  }
  const auto unknown = tune_strategy_from_name("evolution");
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().to_string().find("did you mean 'evolutionary'?"), std::string::npos);
}

}  // namespace
}  // namespace fib::agents
