#include "agents/proposers/mutate.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "signatures/design_space.h"
#include "signatures/solution_folder.h"

namespace fib::agents {
namespace {

using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::UnorderedElementsAre;

SignaturePtr rmsnorm() {
  const auto catalog = Catalog::builtin(FIB_SOURCE_DIR "/signatures/definitions");
  return catalog->find("rmsnorm_h256").value();
}

// Two blocks with alternatives, one that is only marked, two tunables.
Solution sample() {
  Solution solution;
  solution.name = "sample";
  solution.definition = "rmsnorm";
  solution.language = SolutionLanguage::kCpp;
  solution.where = "sample/solution.json";
  solution.sources = {{"solution.cpp",
                       "int w = WIDTH, h = HEIGHT;\n"
                       "// fib:block dot\none\n// fib:end dot\n"
                       "// fib:block order\nrows\n// fib:end order\n"
                       "// fib:block free\nmine\n// fib:end free\n"},
                      {"dot_one.inc", "one\n"},
                      {"dot_two.inc", "two\n"},
                      {"dot_three.inc", "three\n"},
                      {"rows.inc", "rows\n"},
                      {"columns.inc", "columns\n"}};
  solution.fib = Json::parse(R"({
    "target": "cpu", "entry": "solution.cpp",
    "tunables": {"WIDTH": {"values": [1, 2, 4], "initial": 1},
                 "HEIGHT": {"values": [1, 2, 4], "initial": 1}},
    "constraints": ["WIDTH * HEIGHT <= 4"],
    "variations": {
      "dot": {"alternatives": {"one": "dot_one.inc", "two": "dot_two.inc", "three": "dot_three.inc"}},
      "order": {"alternatives": {"rows": "rows.inc", "columns": "columns.inc"}}}})");
  return solution;
}

Ancestor ancestor(Solution solution, int64_t number = 0) {
  Ancestor ancestor;
  ancestor.record.number = number;
  ancestor.record.solution_key = solution_key(solution);
  ancestor.solution = std::move(solution);
  return ancestor;
}

ProposalRequest request_for(Solution parent, std::vector<Ancestor> others = {}) {
  ProposalRequest request;
  request.signature = rmsnorm();
  request.target = "cpu";
  request.parent = ancestor(std::move(parent));
  request.others = std::move(others);
  std::vector<CandidateRecord> history = {request.parent.record};
  for (const Ancestor& other : request.others) history.push_back(other.record);
  request.history = std::make_shared<const std::vector<CandidateRecord>>(std::move(history));
  request.cancelled = [] { return false; };
  return request;
}

ProposalOutcome propose(const ProposalRequest& request, MutateOptions options = {}) {
  auto outcome = make_mutate_proposer(options)->propose(request);
  EXPECT_TRUE(outcome) << outcome.error().to_string();
  EXPECT_NE(outcome->solution.has_value(), outcome->refusal.has_value());
  return *std::move(outcome);
}

// What comes of many seeds.
std::vector<ProposalOutcome> propose_often(ProposalRequest request, int times,
                                           MutateOptions options = {}) {
  std::vector<ProposalOutcome> outcomes;
  for (int i = 0; i < times; ++i) {
    request.seed = i;
    outcomes.push_back(propose(request, options));
  }
  return outcomes;
}
std::set<std::string> notes_of(const std::vector<ProposalOutcome>& outcomes) {
  std::set<std::string> notes;
  for (const ProposalOutcome& outcome : outcomes) notes.insert(outcome.note);
  return notes;
}

std::map<std::string, std::string> blocks_of(const Solution& solution) {
  std::map<std::string, std::string> texts;
  const auto blocks = source_blocks(solution).value();
  for (const SourceBlock& block : blocks) texts[block.name] = block.text;
  return texts;
}
Solution with_blocks(Solution solution, const std::map<std::string, std::string>& texts) {
  for (const auto& [name, text] : texts) solution = with_block(solution, name, text).value();
  return solution;
}
Solution set_to(const Solution& solution, const Configuration& configuration) {
  return with_configuration(solution, design_space_of(solution).value(), configuration).value();
}

TEST(Mutate, PutsADeclaredAlternativeInABlocksPlace) {
  const auto outcomes = propose_often(request_for(sample()), 60, {.another = 0.0});
  EXPECT_THAT(notes_of(outcomes), UnorderedElementsAre("dot: two", "dot: three", "order: columns"));
  for (const ProposalOutcome& outcome : outcomes) {
    const auto blocks = blocks_of(*outcome.solution);
    EXPECT_EQ(blocks.at("free"), "mine\n");
    if (outcome.note == "dot: two") {
      EXPECT_EQ(blocks.at("dot"), "two\n");
      EXPECT_EQ(blocks.at("order"), "rows\n");
    }
    EXPECT_EQ(outcome.solution->fib, sample().fib);
  }
}

TEST(Mutate, TakesBlocksOfOthersWhoeverWroteThem) {
  const auto other = ancestor(
      with_blocks(sample(), {{"dot", "better\n"}, {"free", "theirs\n"}, {"order", "rows\n\n"}}),
      12);
  const auto outcomes = propose_often(request_for(sample(), {other}), 60, {.another = 0.0});
  // Not "order": blank lines make no difference.
  EXPECT_THAT(notes_of(outcomes), UnorderedElementsAre("dot: two", "dot: three", "order: columns",
                                                       "dot as in 12", "free as in 12"));
  for (const ProposalOutcome& outcome : outcomes) {
    const auto blocks = blocks_of(*outcome.solution);
    if (outcome.note == "dot as in 12") {
      EXPECT_EQ(blocks.at("dot"), "better\n");
    }
    if (outcome.note == "free as in 12") {
      EXPECT_EQ(blocks.at("free"), "theirs\n");
    }
  }
}

TEST(Mutate, TakesValuesThatTheConstraintsAdmit) {
  Solution lender = set_to(sample(), {4, 1});
  lender.fib["tunables"]["OTHER"] = {{"values", {1, 8}}, {"initial", 8}};
  lender.sources[0].content += "// OTHER\n";
  const auto request = request_for(set_to(sample(), {1, 2}),
                                   {ancestor(lender, 3), ancestor(set_to(sample(), {2, 1}), 4)});
  std::set<Configuration> taken;
  for (const ProposalOutcome& outcome : propose_often(request, 200, {.another = 0.0})) {
    ASSERT_TRUE(outcome.solution);
    const DesignSpace space = design_space_of(*outcome.solution).value();
    taken.insert(configuration_of(*outcome.solution, space).value());
  }
  // 4 for WIDTH alone would break the constraint, and {2, 1} is there already.
  EXPECT_THAT(taken,
              UnorderedElementsAre(Configuration{1, 2},  // where a block was changed
                                   Configuration{1, 1}, Configuration{2, 2}, Configuration{4, 1}));
}

TEST(Mutate, TakesOnlyValuesThatTheParentKnows) {
  Solution lender = sample();
  lender.fib["tunables"]["WIDTH"] = {{"values", {1, 3}}, {"initial", 1}};
  lender.fib["flags"] = {"-DWIDTH=3"};
  lender.fib["constraints"] = Json::array();
  const auto outcomes = propose_often(request_for(sample(), {ancestor(lender, 5)}), 60);
  for (const ProposalOutcome& outcome : outcomes)
    EXPECT_EQ(outcome.note.find("WIDTH"), outcome.note.npos);
}

TEST(Mutate, ChangesSeveralThingsNowAndThen) {
  const auto other = ancestor(set_to(with_blocks(sample(), {{"free", "theirs\n"}}), {1, 2}), 7);
  std::map<int, int> by_count;
  for (const ProposalOutcome& outcome : propose_often(request_for(sample(), {other}), 400)) {
    ++by_count[1 + std::count(outcome.note.begin(), outcome.note.end(), ';')];
  }
  EXPECT_GT(by_count[1], by_count[2]);
  EXPECT_GT(by_count[2], by_count[3]);
  EXPECT_GT(by_count[3], 0);
}

TEST(Mutate, TheSameRequestGivesTheSameProposal) {
  auto request = request_for(sample(), {ancestor(set_to(sample(), {2, 2}), 1)});
  std::set<std::string> keys;
  for (request.seed = 0; request.seed < 30; ++request.seed) {
    const ProposalOutcome first = propose(request), second = propose(request);
    EXPECT_EQ(solution_key(*first.solution), solution_key(*second.solution));
    EXPECT_EQ(first.note, second.note);
    keys.insert(solution_key(*first.solution));
  }
  EXPECT_GT(keys.size(), 5u);
}

TEST(Mutate, GivesEachSolutionOnceAndThenSaysSo) {
  const Solution parent = sample();
  std::vector<CandidateRecord> history = {ancestor(parent).record};
  std::set<std::string> keys = {history[0].solution_key};
  auto request = request_for(parent);
  std::optional<Refusal> refusal;
  for (request.seed = 0; request.seed < 20 && !refusal; ++request.seed) {
    request.history = std::make_shared<const std::vector<CandidateRecord>>(history);
    const ProposalOutcome outcome = propose(request);
    refusal = outcome.refusal;
    if (refusal) break;
    CandidateRecord record;
    record.solution_key = solution_key(*outcome.solution);
    EXPECT_TRUE(keys.insert(record.solution_key).second) << outcome.note;
    history.push_back(std::move(record));
  }
  EXPECT_EQ(keys.size(), 6u);  // three ways of dot, two of order
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->reason, "exhausted");
}

TEST(Mutate, RefusesWhereThereIsNothingToExchange) {
  Solution bare = sample();
  bare.sources = {{"solution.cpp", "int x;\n"}};
  bare.fib = {{"target", "cpu"}, {"entry", "solution.cpp"}};
  EXPECT_FALSE(make_mutate_proposer()->suits(bare));
  EXPECT_EQ(propose(request_for(bare)).refusal->reason, "exhausted");

  bare.sources[0].content = "// fib:block dot\nint x;\n// fib:end dot\n";
  EXPECT_TRUE(make_mutate_proposer()->suits(bare));  // others may have such a block
  const auto outcome = propose(request_for(bare, {ancestor(sample(), 2)}));
  EXPECT_EQ(outcome.note, "dot as in 2");
}

TEST(Mutate, AParentThatCannotBeReadIsARefusalAndALenderLendsNothing) {
  Solution broken = sample();
  broken.sources[0].content += "// fib:block open\n";
  EXPECT_FALSE(make_mutate_proposer()->suits(broken));
  const auto outcome = propose(request_for(broken));
  ASSERT_TRUE(outcome.refusal);
  EXPECT_EQ(outcome.refusal->reason, "malformed");
  EXPECT_THAT(outcome.refusal->message, HasSubstr("never ends"));

  const auto outcomes = propose_often(request_for(sample(), {ancestor(broken, 9)}), 40);
  for (const ProposalOutcome& one : outcomes) {
    ASSERT_TRUE(one.solution);
    EXPECT_EQ(one.note.find("as in"), one.note.npos);
  }
}

// The solutions that `fib agent run` improves in CI (tests/agents/e2e).
class OpenSolution : public testing::TestWithParam<const char*> {};

TEST_P(OpenSolution, StartsFromItsSlowAlternativesAndHasRoom) {
  const auto solution = read_solution_folder(
      std::filesystem::path(FIB_SOURCE_DIR "/tests/agents/solutions") / GetParam());
  ASSERT_TRUE(solution) << solution.error().to_string();
  const auto space = design_space_of(*solution);
  ASSERT_TRUE(space) << space.error().to_string();
  const auto blocks = blocks_of(*solution);
  for (const Variation& variation : space->variations) {
    std::vector<std::string> texts;
    for (const Alternative& alternative : variation.alternatives) {
      for (const SourceFile& source : solution->sources) {
        if (source.path == alternative.file) texts.push_back(source.content);
      }
    }
    EXPECT_THAT(texts, IsSupersetOf({blocks.at(variation.name)})) << variation.name;
  }

  auto request = request_for(*solution);
  std::vector<CandidateRecord> history = {request.parent.record};
  while (history.size() < 12) {
    request.seed = history.size();
    request.history = std::make_shared<const std::vector<CandidateRecord>>(history);
    const auto outcome = propose(request);
    ASSERT_TRUE(outcome.solution) << outcome.refusal->message;
    CandidateRecord record;
    record.solution_key = solution_key(*outcome.solution);
    history.push_back(std::move(record));
  }
}
INSTANTIATE_TEST_SUITE_P(All, OpenSolution, testing::Values("rmsnorm-open", "moe-int4-open"),
                         [](const auto& wanted) {
                           std::string name = wanted.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace fib::agents
