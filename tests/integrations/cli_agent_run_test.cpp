// fib agent run as a user meets it: budgets, bad input, a short search on the CPU that is
// interrupted and goes on.

#include <gmock/gmock.h>

#include "integrations/cli/agent_budget.h"
#include "tests/integrations/fib_process.h"

namespace fib {
namespace {

using testing::FibUser;
using testing::Finished;
using ::testing::HasSubstr;

TEST(AgentBudget, IsReadAsPeopleSayIt) {
  const auto budget = parse_budget({"200,2h", "500ktok", "5.5usd"});
  ASSERT_TRUE(budget) << budget.error().to_string();
  EXPECT_EQ(budget->candidates, 200);
  EXPECT_EQ(budget->seconds, 7200.0);
  EXPECT_EQ(budget->tokens, 500'000);
  EXPECT_EQ(budget->money, 5.5);
  EXPECT_EQ(budget_in_words(*budget), "200 candidates, 2 h, 500000 tokens, 5.50 of money");
  EXPECT_EQ(parse_budget({"1.5m"})->seconds, 90.0);
  EXPECT_EQ(budget_in_words(*parse_budget({"90s"})), "90 s");
  EXPECT_EQ(parse_budget({"2Mtok"})->tokens, 2'000'000);
}

TEST(AgentBudget, RefusesWhatItCantRead) {
  for (const char* text : {"", "x", "-3", "0", "1.5", "inf", "nan", "1e400", "5 usd", "2d",
                           "1h,30m", "0.5tok", "200,", "1e30"}) {
    const auto budget = parse_budget({text});
    ASSERT_FALSE(budget) << text;
    EXPECT_EQ(budget.error().where, "--budget");
  }
  EXPECT_FALSE(parse_budget({"100", "200"}));
}

TEST(AgentBudget, AResumeKeepsTheBoundsOfOtherKinds) {
  using ::testing::ElementsAre;
  const std::vector<std::string> stored = {"8h,20usd"};
  EXPECT_THAT(*merge_budgets(stored, {}), ElementsAre("8h", "20usd"));
  EXPECT_THAT(*merge_budgets(stored, {"400"}), ElementsAre("400", "8h", "20usd"));
  EXPECT_THAT(*merge_budgets(stored, {"30eur,90m"}), ElementsAre("90m", "30eur"));
  EXPECT_THAT(*merge_budgets(stored, {"no-time"}), ElementsAre("20usd"));
  EXPECT_THAT(*merge_budgets(stored, {"no-time,no-money", "2Mtok"}), ElementsAre("2Mtok"));
  EXPECT_EQ(merge_budgets(stored, {"no-time,no-money"}).error().where, "--budget");
  EXPECT_THAT(merge_budgets(stored, {"1h,no-time"}).error().message, HasSubstr("'no-time'"));
  EXPECT_THAT(parse_budget({"200,no-time"}).error().message, HasSubstr("are resumed"));
}

TEST(AgentBudget, BoundsWhatIsSpent) {
  const auto refusal = [](const char* budget, const ProposerArgs& proposers) {
    const auto checked = check_budget(parse_budget({budget}).value(), proposers);
    return checked ? "" : checked.error().to_string();
  };
  ProposerArgs llm{.proposers = {"tune,mutate,llm"}};
  EXPECT_THAT(refusal("8h,20usd", llm), HasSubstr("--llm-price-in"));
  EXPECT_EQ(refusal("2Mtok", llm), "");
  llm.llm.price_out = 10.0;
  EXPECT_EQ(refusal("20usd", llm), "");
  const ProposerArgs tune{.proposers = {"tune:random"}};
  EXPECT_THAT(refusal("5usd", tune), HasSubstr("tune cost neither"));
  EXPECT_THAT(refusal("2Mtok", tune), HasSubstr("wouldn't end"));
  EXPECT_EQ(refusal("5usd,1h", tune), "");
  EXPECT_EQ(refusal("200", tune), "");
  EXPECT_EQ(refusal("5usd", {.proposers = {"exec:a b,c"}}), "") << "a program says what it cost";
}

using AgentRun = FibUser;

TEST_F(AgentRun, SaysWhatIsMissingOrWrong) {
  const auto expect = [&](const std::vector<std::string>& arguments, const std::string& part) {
    std::vector<std::string> words = {"agent", "run"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    const Finished finished = fib(words);
    EXPECT_EQ(finished.code, 2) << finished.out << finished.err;
    EXPECT_THAT(finished.err, HasSubstr(part));
  };
  const std::vector<std::string> on_cpu = {"--signature", "rmsnorm_h256", "--target", "cpu"};
  const auto also = [&](std::vector<std::string> more) {
    more.insert(more.begin(), on_cpu.begin(), on_cpu.end());
    return more;
  };
  expect({}, "--signature");
  expect({"--signature", "rmsnorm_256", "--target", "cpu"}, "rmsnorm_h256");
  expect(also({"--budget", "soon"}), "'soon'");
  expect(also({"--proposer", "oracle"}), "'oracle'");
  expect(also({"--proposer", "tune,tune:random"}), "'tune' is there twice");
  expect(also({"--proposer", "tune:clever"}), "clever");
  expect(also({"--proposer", "llm"}), "--llm-model");
  expect(also({"--budget", "5usd"}), "wouldn't end");
  expect(also({"--proposer", "llm", "--llm-model", "m", "--budget", "5usd"}), "--llm-price-in");
  expect(also({"--seeds", "nobody"}), "nobody");
  expect(also({"--seeds", "gemm-tiles"}), "gemm");
  expect({"--resume", "7"}, "there is no run 7");
  expect({"--resume", "x"}, "'x' must be a run's number: 'fib agent list' has them");
  expect(also({"--proposer", "exec:"}), "--proposer 'exec:': names no program");
  expect({"--resume", "7", "--islands", "2"}, "--islands");
}

TEST_F(AgentRun, SearchesIsInterruptedAndGoesOn) {
  write(
      "workloads.jsonl",
      R"({"definition": "rmsnorm_h256", "workload": {"uuid": "one", "axes": {"batch_size": 4}, "inputs": {}}})"
      "\n");
  const std::string seed = FIB_SOURCE_DIR "/tests/agents/solutions/rmsnorm-open";
  const std::vector<std::string> command = {
      "agent", "run",     "--signature", "rmsnorm_h256",    "--target", "cpu",     "--seeds",
      seed,    "--quick", "--workloads", "workloads.jsonl", "--budget", "4000,5h", "--json"};
  const pid_t child = start(command);
  // Once the first candidates are there.
  while (read("stdout").find("\"number\":2,") == std::string::npos &&
         ::waitpid(child, nullptr, WNOHANG) == 0) {
    ::usleep(20'000);
  }
  ::kill(child, SIGINT);
  const Finished interrupted = finish(child);
  EXPECT_EQ(interrupted.code, 130) << interrupted.out << interrupted.err;
  EXPECT_THAT(interrupted.out, HasSubstr("\"end_reason\":\"interrupted\""));
  EXPECT_EQ(interrupted.err, "");

  const Finished resumed = fib({"agent", "run", "--resume", "1", "--budget", "5"});
  EXPECT_EQ(resumed.code, 0) << resumed.out << resumed.err;
  EXPECT_THAT(resumed.out, HasSubstr("budget: 5 candidates"));
  EXPECT_THAT(resumed.out, HasSubstr("; budget: 5 candidates, 5 h\n")) << "and the time it had";
  EXPECT_THAT(resumed.out, HasSubstr("devices idle"));
  EXPECT_THAT(resumed.out, HasSubstr("fib agent run --resume 1 with a larger --budget goes on"));
  EXPECT_EQ(resumed.err, "");
  const Json options = fib_json({"agent", "show", "1"}).at("options");
  EXPECT_EQ(options.at("setup").at("budget"), Json({"5", "5h"}));
}

}  // namespace
}  // namespace fib
