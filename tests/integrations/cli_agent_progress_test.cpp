// What a search prints while it goes on and at its end.

#include <gmock/gmock.h>

#include <sstream>

#include "integrations/cli/agent_progress.h"

namespace fib {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class AgentLines : public ::testing::Test {
 protected:
  Context context(Interactivity interactivity = Interactivity::kTerminal) {
    return {.out = out_, .err = err_, .interactivity = interactivity};
  }

  std::string progress_line(const agents::Amounts& budget, const agents::Amounts& spent) {
    const Context terminal = context();
    const agents::Tally tally;
    AgentProgress progress(terminal, budget);
    progress.on_progress({.tally = tally, .spent = spent});
    return err_.str();
  }

  static CandidateRecord refused(int64_t number, std::string reason, std::string message) {
    CandidateRecord candidate;
    candidate.number = number;
    candidate.proposer = "exec";
    candidate.refusal = {std::move(reason), std::move(message)};
    return candidate;
  }

  std::ostringstream out_, err_;
};

TEST_F(AgentLines, TellWhatWasSpentOfWhat) {
  EXPECT_THAT(progress_line({.tokens = 500'000, .money = 20.0}, {.tokens = 12'345, .money = 1.25}),
              HasSubstr("  tokens 12.35k of 500k  money 1.25 of 20  in flight"));
}

TEST_F(AgentLines, TellBoundsBeforeAnythingWasSpent) {
  EXPECT_THAT(progress_line({.tokens = 2'000'000}, {}), HasSubstr("  tokens 0 of 2M  in flight"));
}

TEST_F(AgentLines, TellWhatIsSpentWithoutABound) {
  EXPECT_THAT(progress_line({.candidates = 9}, {.tokens = 350, .money = 0.0425}),
              HasSubstr("  tokens 350  money 0.0425  in flight"));
}

TEST_F(AgentLines, AreSilentOfWhatCostsNothing) {
  EXPECT_THAT(progress_line({.candidates = 9}, {}), Not(HasSubstr("money")));
}

TEST_F(AgentLines, TellTheFirstCrashOfAProposer) {
  const Context pipe = context(Interactivity::kPipe);
  AgentProgress progress(pipe, {});
  progress.on_candidate(refused(3, "malformed", "no JSON"));
  EXPECT_EQ(err_.str(), "");
  progress.on_candidate(refused(4, "crash", "exited with code 1; it printed:\nno \x1b[2Jkey\n"));
  progress.on_candidate(refused(5, "crash", "exited with code 2"));
  EXPECT_EQ(err_.str(), "#4: exec crashed\n  exited with code 1; it printed:\n  no \ufffd[2Jkey\n");
}

TEST_F(AgentLines, TellWhySomebodyWasSetAside) {
  const Context pipe = context(Interactivity::kPipe);
  AgentProgress progress(pipe, {});
  agents::RunSummary summary{.end_reason = "all proposers are set aside"};
  summary.tally.add(refused(1, "malformed", "no JSON"));
  summary.tally.add(refused(2, "crash", "exited with code 1"));
  summary.set_aside = {"exec"};
  progress.finish(summary);
  EXPECT_THAT(out_.str(), HasSubstr("exec was set aside after 20 refusals in a row, the last: "
                                    "crash\n  exited with code 1\n"));
}

}  // namespace
}  // namespace fib
