// The SVG and the page: well formed, whole, and safe whatever was written into the records.

#include <gmock/gmock.h>

#include <boost/property_tree/xml_parser.hpp>
#include <sstream>

#include "agents/report/lineage_svg.h"
#include "agents/report/markup.h"
#include "agents/report/run_page.h"
#include "tests/agents/report/made_up_run.h"

namespace fib::agents {
namespace {

using namespace fib::testing;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

void expect_well_formed(const std::string& text) {
  std::istringstream stream(text);
  boost::property_tree::ptree tree;
  EXPECT_NO_THROW(boost::property_tree::read_xml(stream, tree)) << text;
}

size_t count_of(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// Each text of the records that somebody else writes.
RunReport hostile_report() {
  RunRecord run = made_up_run();
  run.signature = run.hardware = run.target = run.end_reason = kHostile;
  std::vector<CandidateRecord> candidates = made_up_candidates();
  for (CandidateRecord& candidate : candidates) {
    candidate.proposer = candidate.note = candidate.solution_name = kHostile;
    candidate.behaviour.bound = candidate.refusal.reason = kHostile;
  }
  return make_report(run, candidates);
}

void expect_harmless(const std::string& text) {
  expect_well_formed(text);
  EXPECT_THAT(text, Not(HasSubstr("<script")));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(text, Not(HasSubstr("\xff")));
  EXPECT_THAT(text, HasSubstr("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &quot; &amp; "));
}

TEST(Markup, EscapesWhateverItIsGiven) {
  EXPECT_EQ(escape_markup("a<b> & \"c\" 'd'"), "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;");
  EXPECT_EQ(escape_markup("µ → \n\t"), "µ → \n\t");
  EXPECT_EQ(escape_markup(std::string("\0\x1b\x7f\xff", 4)), "\ufffd\ufffd\ufffd\ufffd");
  EXPECT_EQ(escape_markup("\xc3"), "\ufffd") << "a character that was cut off";
}

TEST(Markup, AProposerKeepsItsColour) {
  EXPECT_NE(proposer_colour("tune"), proposer_colour("mutate"));
  EXPECT_EQ(proposer_colour("of tomorrow"), proposer_colour("of tomorrow"));
}

TEST(LineageSvg, ShowsEveryCandidate) {
  const std::string svg = lineage_svg(made_up_report());
  expect_well_formed(svg);
  // Four that are right, in both panels; two that failed and have a solution, in the lineage.
  EXPECT_EQ(count_of(svg, "<circle cx"), 4u /* legend */ + 2 * 4u + 2u);
  EXPECT_EQ(count_of(svg, "class='ring'"), 1u /* legend */ + 2u);
  EXPECT_THAT(svg, HasSubstr("<title>#1 tune of #0: TILE 64 -&gt; 128; 1.200x 1.150-1.250"));
  EXPECT_THAT(svg, HasSubstr("<title>#2 tune of #0; failed: compile-error</title>"));
  EXPECT_THAT(svg, HasSubstr(">#3 1.50x</text>"));
  EXPECT_THAT(svg, HasSubstr("run 1 on TEST_CPU, finished: budget: 6 candidates"));
  EXPECT_EQ(count_of(svg, "class='edge lent'"), 1u /* legend */ + 1u);
  EXPECT_THAT(svg, HasSubstr("prefers-color-scheme: dark"));
}

TEST(LineageSvg, IsThereBeforeAnythingIsRight) {
  const std::string empty = lineage_svg(make_report(made_up_run(), {}));
  expect_well_formed(empty);
  EXPECT_THAT(empty, Not(HasSubstr("best so far")));
  const std::vector<CandidateRecord> failed = {
      ended(made_up(0, "seed", {}), CandidateFate::kFailed, "precision")};
  expect_well_formed(lineage_svg(make_report(made_up_run(), failed)));
}

TEST(LineageSvg, TakesNumbersThatAreNone) {
  std::vector<CandidateRecord> candidates = made_up_candidates();
  candidates[1].speedup_high = std::numeric_limits<double>::infinity();
  candidates[3].speedup_low = std::numeric_limits<double>::quiet_NaN();
  const std::string svg = lineage_svg(make_report(made_up_run(), candidates));
  expect_well_formed(svg);
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

TEST(LineageSvg, ParentsThatAreNotThereLeaveNoEdge) {
  const std::vector<CandidateRecord> candidates = {measured(made_up(5, "tune", {2, 3}), 1.1)};
  const std::string svg = lineage_svg(make_report(made_up_run(), candidates));
  expect_well_formed(svg);
  EXPECT_THAT(svg, Not(HasSubstr("class='edge' ")));
}

TEST(LineageSvg, EscapesWhatOthersWrote) { expect_harmless(lineage_svg(hostile_report())); }

TEST(RunPage, HasTablesPictureAndDetails) {
  const std::string page =
      run_page(made_up_report(), {{.number = 3,
                                   .feedback = "# right on all workloads",
                                   .difference = "--- #1/solution.cpp\n-old\n+new\n same\n",
                                   .exchanges = {{"user", "faster"}, {"assistant", "here"}}}});
  expect_well_formed(page);
  EXPECT_THAT(page, AllOf(HasSubstr("<svg "), HasSubstr("<h1>rmsnorm_h64, run 1</h1>")));
  EXPECT_THAT(page, HasSubstr("<dt>best, confirmed</dt><dd>#3 1.500x 1.450-1.550</dd>"));
  EXPECT_THAT(page, HasSubstr("<dt>candidates an hour</dt><dd>360</dd>"));
  EXPECT_THAT(page, HasSubstr("<dt>money</dt><dd>0.75</dd>"));
  EXPECT_THAT(page, HasSubstr("<td>compile-error</td><td class='n'>1</td>"));
  EXPECT_THAT(page, HasSubstr("<a href='#c3'>#3</a>"));
  EXPECT_THAT(page, HasSubstr("Descent: #0 → #1 → <a href='#c3'>#3</a>."));
  EXPECT_THAT(page, HasSubstr("# right on all workloads"));
  EXPECT_THAT(page, HasSubstr("<span class='add'>+new</span>\n same\n"));
  EXPECT_THAT(page, HasSubstr("<summary>assistant</summary><pre>here"));
  EXPECT_EQ(count_of(page, "<tr><td class='n'>"), 4u /* fastest */ + 7u /* all */);
}

TEST(RunPage, IsThereForAnEmptyRun) {
  const std::string page = run_page(make_report(made_up_run(), {}), {});
  expect_well_formed(page);
  EXPECT_THAT(page, Not(HasSubstr("<dt>best")));
}

TEST(RunPage, LeavesOutDetailsOfNobody) {
  EXPECT_THAT(run_page(made_up_report(), {{.number = 99, .feedback = "lost"}}),
              Not(HasSubstr("lost")));
}

TEST(RunPage, EscapesWhatOthersWrote) {
  expect_harmless(run_page(hostile_report(), {{.number = 3,
                                               .feedback = kHostile,
                                               .difference = std::string("+") + kHostile,
                                               .exchanges = {{kHostile, kHostile}}}}));
}

}  // namespace
}  // namespace fib::agents
