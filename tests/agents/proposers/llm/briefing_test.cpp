#include "agents/proposers/llm/briefing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "agents/proposers/llm/prompt.h"
#include "tests/agents/proposers/llm/sample_request.h"

namespace fib::agents {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::sample_request;
using testing::sample_solution;
using ::testing::StartsWith;

constexpr const char* kAbi = FIB_SOURCE_DIR "/harness/abi";

std::string told(const ProposalRequest& request, std::string_view name,
                 const BriefingLimits& limits = {}, const std::filesystem::path& abi = kAbi) {
  for (const auto& [key, value] : briefing(request, abi, {"first", "second"}, limits)) {
    if (key == name) return value;
  }
  return "(nothing)";
}

CandidateRecord child(int64_t number, const std::string& note, CandidateFate fate,
                      const std::string& reason = {}) {
  CandidateRecord record;
  record.number = number;
  record.parents = {0};
  record.note = note;
  record.fate = fate;
  record.refusal.message = reason;
  return record;
}

TEST(Briefing, TellsContractParentAndPlace) {
  const ProposalRequest request = sample_request();
  EXPECT_EQ(told(request, "signature"), "rmsnorm_h64");
  EXPECT_THAT(told(request, "contract"), HasSubstr("honest implementation's"));
  EXPECT_THAT(told(request, "reference"), AllOf(StartsWith("```python\n"), HasSubstr("def run")));
  EXPECT_EQ(told(request, "hardware"), "a processor of eight cores");
  EXPECT_EQ(told(request, "architecture"), "x86_64");
  EXPECT_THAT(told(request, "parent_files"),
              AllOf(HasSubstr("```file solution.cpp\n#include <fib/cpu.h>"),
                    HasSubstr("```file tile.h"), HasSubstr("```file solution.json\n{")));
  EXPECT_EQ(told(request, "parent_outcome"),
            "1.000 times as fast as the baseline (0.990 to 1.010)");
  EXPECT_EQ(told(request, "parent_feedback"), "Nothing was measured in detail.");
  EXPECT_EQ(told(request, "tried"), "Nothing yet.");
  EXPECT_EQ(told(request, "others"), "Nothing yet.");
}

TEST(Briefing, ThePromptSaysWhereItRunsAndWhatForItIsCompiled) {
  const auto prompts = read_prompts(FIB_SOURCE_DIR "/agents/prompts/v1");
  ASSERT_TRUE(prompts) << prompts.error().to_string();
  EXPECT_THAT(prompts->propose.render(briefing(sample_request(), kAbi, {"faster"}, {})),
              HasSubstr("\n\na processor of eight cores\n\nCompiled for: x86_64\n"));
}

TEST(Briefing, ShowsTheHeadersThatTheParentIncludes) {
  const ProposalRequest request = sample_request();
  EXPECT_THAT(told(request, "headers"),
              AllOf(HasSubstr("`<fib/cpu.h>`:"), HasSubstr("typedef struct FibCall"),
                    HasSubstr("`<fib/cpu/bf16.h>`:"), Not(HasSubstr("Not shown"))));
  EXPECT_THAT(
      told(request, "headers", {.headers_bytes = 100}),
      AllOf(HasSubstr("typedef struct FibCall"), HasSubstr("Not shown: <fib/cpu/bf16.h>.")));
  EXPECT_EQ(told(request, "headers", {}, ""), "Not shown: <fib/cpu.h>, <fib/cpu/bf16.h>.\n");
  ProposalRequest prying = request;
  prying.parent.solution.sources[0].content =
      "#include <fib/../../../LICENSE>\n#include <fib/none.h>";
  EXPECT_THAT(told(prying, "headers"),
              AllOf(Not(HasSubstr("LICENSE")), HasSubstr("Not shown: <fib/none.h>.")));
}

TEST(Briefing, TellsWhatBecameOfTheParentsChildren) {
  ProposalRequest request = sample_request();
  CandidateRecord fast = child(1, "wider", CandidateFate::kMeasured);
  fast.speedup = 1.5, fast.speedup_low = 1.4, fast.speedup_high = 1.6;
  CandidateRecord slow = child(2, "narrower", CandidateFate::kSlow);
  slow.screen_speedup = 0.5;
  CandidateRecord beaten = child(7, "taller", CandidateFate::kSlow);
  beaten.stage = CandidateStage::kRaced;
  beaten.speedup = 0.98, beaten.speedup_low = 0.97, beaten.speedup_high = 0.99;
  CandidateRecord foreign = child(6, "of another parent", CandidateFate::kSlow);
  foreign.parents = {1, 0};
  request.history = std::make_shared<const std::vector<CandidateRecord>>(
      std::vector<CandidateRecord>{fast, slow, beaten, child(3, "same", CandidateFate::kDuplicate),
                                   child(4, "odd", CandidateFate::kFailed, "wrong\nnumbers"),
                                   child(5, "", CandidateFate::kRefused, "malformed"), foreign});
  EXPECT_EQ(told(request, "tried"),
            "- wider: 1.500 times as fast as the baseline (1.400 to 1.600)\n"
            "- narrower: right, but too slow to be timed in full: 0.500 times as fast as the "
            "baseline\n"
            "- taller: right, but slower than the best: 0.980 times as fast as the baseline (0.970 "
            "to 0.990), by a brief look\n"
            "- same: compiles to the same machine code as an earlier one\n"
            "- odd: failed: wrong numbers");
  EXPECT_THAT(told(request, "tried", {.tried = 1}), StartsWith("- odd"));
}

TEST(Briefing, ShowsTheBestOtherWhereItDiffers) {
  ProposalRequest request = sample_request();
  Ancestor best{.solution = sample_solution(),
                .record = child(7, "eight", CandidateFate::kMeasured)};
  best.solution.name = "best";
  best.solution.sources[1].content = "enum { kTile = 8 };\n";
  Ancestor second = best;
  second.solution.name = "second";
  second.solution.sources[1].content = "enum { kTile = 9 };\n";
  request.others = {best, second};
  EXPECT_THAT(told(request, "others"),
              AllOf(HasSubstr("- `best`, eight: "), HasSubstr("- `second`, eight: "),
                    HasSubstr("kTile = 8"), Not(HasSubstr("kTile = 9")),
                    Not(HasSubstr("int run();")), Not(HasSubstr("not shown"))));
  EXPECT_THAT(told(request, "others", {.others_bytes = 10}),
              AllOf(Not(HasSubstr("kTile = 8")), HasSubstr("Its tile.h is not shown")));
}

TEST(Briefing, DirectionsAreDrawnByTheSeed) {
  ProposalRequest request = sample_request();
  std::set<std::string> drawn;
  for (request.seed = 0; request.seed < 32; ++request.seed)
    drawn.insert(told(request, "direction"));
  EXPECT_EQ(drawn, (std::set<std::string>{"first", "second"}));
}

TEST(Briefing, FencesAreLongerThanWhatTheyHold) {
  EXPECT_EQ(fenced("file a", "x"), "```file a\nx\n```");
  EXPECT_EQ(fenced("file a", "````\n"), "`````file a\n````\n`````");
}

}  // namespace
}  // namespace fib::agents
