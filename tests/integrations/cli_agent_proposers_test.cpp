// The proposers of a search as the command line names them.

#include <gmock/gmock.h>

#include <sstream>

#include "integrations/cli/agent_proposers.h"
#include "signatures/base/file.h"
#include "tests/agents/proposers/llm/sample_request.h"
#include "tests/scratch_folder.h"

namespace fib {
namespace {

using agents::ProposalOutcome;
using ::testing::HasSubstr;

class ExecWords : public ::testing::Test {
 protected:
  void write(const std::string& file, std::string_view content) {
    std::filesystem::create_directories((folder_ / file).parent_path());
    ASSERT_TRUE(write_file_atomically(folder_ / file, content));
  }

  Result<std::vector<std::shared_ptr<agents::Proposer>>> make(const std::string& spec) {
    ProposerArgs args{.proposers = {spec}};
    args.exec_folder = folder_.path();
    return make_proposers(context_, args);
  }

  // What the program's refusal says.
  std::string said(const std::string& spec) {
    const auto proposers = make(spec);
    if (!proposers) return proposers.error().to_string();
    const auto outcome = proposers->front()->propose(agents::testing::sample_request());
    if (!outcome) return outcome.error().to_string();
    return outcome->refusal ? outcome->refusal->message : "a solution";
  }

  ScratchFolder folder_, cache_;
  std::ostringstream out_, err_;
  const Context context_{.out = out_, .err = err_, .cache_folder = cache_.path()};
};

TEST_F(ExecWords, ThatNameFilesAreFoundFromTheCallsFolder) {
  write("agent.sh", "cat > /dev/null; . \"$(dirname \"$0\")/parts/say.sh\"; say \"$1\"\n");
  write("parts/say.sh", "say() { echo \"{\\\"refusal\\\": \\\"$1\\\"}\"; }\n");
  EXPECT_EQ(said("exec:sh agent.sh --fast"), "--fast");
  EXPECT_EQ(said("exec:sh " + (folder_ / "agent.sh").string() + " 'a b'"), "a b");
  EXPECT_EQ(said("exec:sh ./agent.sh agent.sh"), (folder_ / "agent.sh").string());
  EXPECT_EQ(said("exec:sh agent.sh parts"), "parts") << "a folder may be a word as any other";
  EXPECT_EQ(said("exec:sh parts/../agent.sh x"), "x");
  EXPECT_THAT(said("exec:sh nothing.sh"), HasSubstr("whole path"));
}

TEST_F(ExecWords, AProgramByItsPathTooIsSeenFromThere) {
  write("agent", "#!/bin/sh\necho '{\"refusal\": \"here\"}'\n");
  std::filesystem::permissions(folder_ / "agent", std::filesystem::perms::owner_all);
  EXPECT_EQ(said("exec:./agent"), "here");
  EXPECT_THAT(said("exec:agent"), HasSubstr("no such program")) << "names are for the PATH";
  EXPECT_THAT(said("exec: "), HasSubstr("--proposer 'exec: ': names no program"));
  EXPECT_THAT(said("exec:agent 'x"), HasSubstr("--proposer 'exec:agent 'x': a ' without its end"));
}

TEST_F(ExecWords, AreSeenFromTheSamePlaceAfterAResume) {
  ProposerArgs args;
  const std::string here = std::filesystem::current_path().string();
  EXPECT_EQ(args.to_json().at("exec_folder"), here + "/");
  args.exec_folder = folder_.path();
  EXPECT_EQ(args.to_json().at("exec_folder"), folder_.path().string());
}

TEST(ProposerPatience, IsThatOfAllCallsInFlight) {
  ProposerArgs args{.proposers = {"tune,mutate"}};
  EXPECT_EQ(args.longest_wait_s(64), 1800.0);
  args.proposers.push_back("exec:agent");
  args.exec_parallel = 4;
  args.exec_timeout_s = 3600.0;
  EXPECT_EQ(args.longest_wait_s(4), 3660.0);
  EXPECT_EQ(args.longest_wait_s(5), 2 * 3600.0 + 60.0);
  args.proposers.push_back("llm");
  args.llm.samples = 1;
  args.llm.timeout_s = 1000.0;
  EXPECT_EQ(args.longest_wait_s(8), 8 * 2 * 1000.0 + 60.0);
  EXPECT_EQ(args.to_json().at("--exec-timeout"), 3600.0) << "for a resume";
}

}  // namespace
}  // namespace fib
