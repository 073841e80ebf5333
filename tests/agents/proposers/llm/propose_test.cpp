// The proposer as a whole, against the scripted server.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "agents/proposers/llm.h"
#include "tests/agents/proposers/llm/sample_request.h"
#include "tests/agents/proposers/llm/scripted_server.h"

namespace fib::agents {
namespace {

using ::testing::AllOf;
using testing::answer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::options_for;
using testing::sample_request;
using testing::ScriptedServer;

const std::string kGood =
    "NOTE: wider tiles\n```patch tile.h\n<<<<<<< SEARCH\nenum { kTile = 4 };\n=======\n"
    "enum { kTile = 8 };\n>>>>>>> REPLACE\n```\n";
const std::string kBad =
    "```patch tile.h\n<<<<<<< SEARCH\nenum { kTile = 5 };\n=======\n"
    "enum { kTile = 8 };\n>>>>>>> REPLACE\n```\n";

std::vector<std::string> roles(const ProposalOutcome& outcome) {
  std::vector<std::string> roles;
  for (const Exchange& exchange : outcome.exchanges) roles.push_back(exchange.role);
  return roles;
}

ProposalOutcome propose(const ScriptedServer& server,
                        const ProposalRequest& request = sample_request()) {
  const auto proposer = make_llm_proposer(options_for(server));
  EXPECT_TRUE(proposer) << proposer.error().to_string();
  auto outcome = (*proposer)->propose(request);
  EXPECT_TRUE(outcome) << outcome.error().to_string();
  EXPECT_NE(outcome->solution.has_value(), outcome->refusal.has_value());
  return *std::move(outcome);
}

TEST(Llm, AnAnswerBecomesASolution) {
  const ScriptedServer server({.steps = {answer(kGood)}});
  const ProposalOutcome outcome = propose(server);
  ASSERT_TRUE(outcome.solution);
  EXPECT_EQ(outcome.note, "wider tiles");
  EXPECT_THAT(outcome.solution->sources.at(1).content, HasSubstr("kTile = 8"));
  EXPECT_EQ(outcome.cost.prompt_tokens, 1000);
  EXPECT_EQ(outcome.cost.answer_tokens, 100);
  EXPECT_DOUBLE_EQ(outcome.cost.money, 0.003);
  EXPECT_THAT(roles(outcome), ElementsAre("system", "user", "assistant", "usage"));
  EXPECT_THAT(outcome.exchanges[0].content, HasSubstr("fib_run"));
  EXPECT_THAT(outcome.exchanges[1].content,
              AllOf(HasSubstr("rmsnorm_h64"), HasSubstr("kTile = 4")));
  EXPECT_EQ(outcome.exchanges[2].content, kGood);
  EXPECT_EQ(server.requests().size(), 1u);
  EXPECT_EQ(outcome.exchanges[3].content, "1000 prompt tokens, 100 answer tokens, price 0.003");
}

TEST(Llm, TheComplaintGoesBackOnce) {
  const ScriptedServer server({.steps = {answer(kBad), answer(kGood)}});
  const ProposalOutcome outcome = propose(server);
  ASSERT_TRUE(outcome.solution);
  EXPECT_THAT(roles(outcome),
              ElementsAre("system", "user", "assistant", "usage", "user", "assistant", "usage"));
  EXPECT_THAT(outcome.exchanges[4].content, HasSubstr("line 2: the search text isn't in tile.h"));
  EXPECT_EQ(outcome.cost.prompt_tokens, 2000);
  EXPECT_DOUBLE_EQ(outcome.cost.money, 0.006);
  const Json body = Json::parse(server.requests().at(1)["body"].get<std::string>());
  EXPECT_EQ(body["messages"].size(), 4u);
  EXPECT_EQ(body["messages"][2]["content"], kBad);
}

TEST(Llm, ASecondAnswerThatCannotBeReadIsRefused) {
  const struct {
    Json first, second;
    std::string_view reason, message;
  } cases[] = {
      {answer("I'm sorry, I can't help with that."), answer("Still not."), "malformed",
       "without a block"},
      {answer(kBad), answer("```new ../../x.h\nx\n```"), "path", "no path of the solution"},
      {answer(kBad),
       {{"content", "```file tile.h\nenum"}, {"finish_reason", "length"}},
       "malformed",
       "cut off at the limit of tokens"},
      {answer(kBad),
       {{"content", nullptr}, {"message", {{"refusal", "not that"}}}},
       "malformed",
       "You declined: not that"},
  };
  for (const auto& [first, second, reason, message] : cases) {
    const ScriptedServer server({.steps = {first, second}});
    const ProposalOutcome outcome = propose(server);
    ASSERT_TRUE(outcome.refusal);
    EXPECT_EQ(outcome.refusal->reason, reason);
    EXPECT_THAT(outcome.refusal->message, HasSubstr(std::string(message)));
    EXPECT_EQ(outcome.cost.prompt_tokens, 2000);
    EXPECT_EQ(server.requests().size(), 2u);
  }
}

TEST(Llm, WhatIsNothingNewIsRefused) {
  const std::string same =
      "```patch tile.h\n<<<<<<< SEARCH\nenum { kTile = 4 };\n=======\nenum { kTile = 4 };\n"
      ">>>>>>> REPLACE\n```";
  const ScriptedServer server({.steps = {answer(same), answer(kGood), answer(kGood)}});
  EXPECT_EQ(propose(server).refusal.value().reason, "unchanged");

  ProposalRequest request = sample_request();
  CandidateRecord earlier;
  earlier.number = 3;
  earlier.solution_key = solution_key(propose(server).solution.value());
  request.history =
      std::make_shared<const std::vector<CandidateRecord>>(std::vector<CandidateRecord>{earlier});
  const Refusal refusal = propose(server, request).refusal.value();
  EXPECT_EQ(refusal.reason, "tried-before");
  EXPECT_THAT(refusal.message, HasSubstr("candidate 3"));
}

TEST(Llm, WithoutUsageTheCostIsEstimatedAndSaysSo) {
  const ScriptedServer server({.steps = {Json{{"content", kGood}, {"usage", nullptr}}}});
  const ProposalOutcome outcome = propose(server);
  EXPECT_GT(outcome.cost.prompt_tokens, 1000);
  EXPECT_EQ(outcome.cost.answer_tokens, static_cast<int64_t>((kGood.size() + 3) / 4));
  EXPECT_GT(outcome.cost.money, 0.0);
  EXPECT_THAT(outcome.exchanges.back().content, HasSubstr("estimated"));
}

TEST(Llm, TroubleOfTheEndpointIsRecorded) {
  const Json limited{{"status", 429}, {"error", {{"message", "slow down"}}}};
  const ScriptedServer server({.steps = {limited, answer(kGood)}, .otherwise = limited});
  const ProposalOutcome first = propose(server);
  EXPECT_TRUE(first.solution);
  EXPECT_THAT(roles(first), ElementsAre("system", "user", "error", "assistant", "usage"));
  const ProposalOutcome second = propose(server);
  EXPECT_EQ(second.refusal.value().reason, "rate-limit");
  EXPECT_EQ(second.exchanges.size(), 7u);
  EXPECT_EQ(second.cost.money, 0.0);
}

TEST(Llm, SeveralSamplesAreInFlight) {
  const ScriptedServer server({.otherwise = answer(kGood)});
  const auto proposer = make_llm_proposer(options_for(server)).value();
  std::vector<std::thread> threads;
  for (uint64_t seed = 0; seed < 8; ++seed) {
    threads.emplace_back([&, seed] {
      ProposalRequest request = sample_request();
      request.seed = seed;
      const auto outcome = proposer->propose(request);
      ASSERT_TRUE(outcome) << outcome.error().to_string();
      EXPECT_TRUE(outcome->solution);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(server.requests().size(), 8u);
}

TEST(Llm, AnUnusableEndpointEndsTheRun) {
  const ScriptedServer server({.key = "right", .otherwise = answer(kGood)});
  const auto proposer = make_llm_proposer(options_for(server)).value();
  const auto outcome = proposer->propose(sample_request());
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, ErrorCode::kEnvironment);
}

TEST(Llm, SuitsWhatItCanShowAndChange) {
  const ScriptedServer server({.otherwise = answer(kGood)});
  const auto proposer = make_llm_proposer(options_for(server)).value();
  EXPECT_EQ(proposer->name(), "llm");
  Solution solution = testing::sample_solution();
  EXPECT_TRUE(proposer->suits(solution));
  solution.sources[0].content.append(300'000, ' ');
  EXPECT_FALSE(proposer->suits(solution));
  Solution foreign = testing::sample_solution();
  foreign.fib = Json();
  EXPECT_FALSE(proposer->suits(foreign));
}

TEST(Llm, PromptsThatAreNotThereAreAnError) {
  const ScriptedServer server({.otherwise = answer(kGood)});
  LlmOptions options = options_for(server);
  options.prompts = "no/such/folder";
  EXPECT_THAT(make_llm_proposer(options).error().to_string(), HasSubstr("no/such/folder"));
}

}  // namespace
}  // namespace fib::agents
