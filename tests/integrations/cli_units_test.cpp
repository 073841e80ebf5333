// What needs no process: numbers, tables, text.

#include <gtest/gtest.h>

#include <sstream>

#include "integrations/cli/terminal.h"
#include "integrations/cli/text.h"
#include "integrations/cli/units.h"
#include "integrations/cli/verdict_view.h"

namespace fib {
namespace {

TEST(Units, ThreeDigitsAndAUnit) {
  EXPECT_EQ(format_duration_ns(999.0), "999 ns");
  EXPECT_EQ(format_duration_ns(999.6), "1.00 µs");
  EXPECT_EQ(format_duration_ns(3214.0), "3.21 µs");
  EXPECT_EQ(format_duration_ns(32140.0), "32.1 µs");
  EXPECT_EQ(format_duration_ns(2.5e9), "2.50 s");
  EXPECT_EQ(format_duration_ns(0.0), "0 ns");
  EXPECT_EQ(format_interval({100.0, 99.0, 101.0}), "100 ns ±1.0 %");
  EXPECT_EQ(format_bandwidth(612.3e9), "612 GB/s");
  EXPECT_EQ(format_bandwidth(2.1e12), "2.10 TB/s");
  EXPECT_EQ(format_flops(45.2e12), "45.2 TFLOP/s");
  EXPECT_EQ(format_bytes(1536.0), "1.50 KiB");
  EXPECT_EQ(format_percent(0.634), "63 %");
  EXPECT_EQ(format_percent(0.034), "3.4 %");
  EXPECT_EQ(format_factor(1.214), "1.21x");
  EXPECT_EQ(format_speedup(1.2134, 1.1978, 1.2271), "1.213x 1.198-1.227");
}

TEST(Terminal, WidthCountsWhatIsSeen) {
  EXPECT_EQ(display_width("µs ±"), 4u);
  const Style style(Style::Colors::kOn);
  EXPECT_EQ(display_width(style.red("abc")), 3u);
  EXPECT_EQ(pad("µs", 4, Align::kRight), "  µs");
  EXPECT_EQ(Style().red("abc"), "abc");
}

TEST(Terminal, TableAlignsItsColumns) {
  Table table({{"name"}, {"time", Align::kRight}, {""}});
  table.add({"a", "3.21 µs", ""});
  table.add({"longer", "12 ns", "x"});
  std::ostringstream out;
  table.print(out, Style(), "  ");
  EXPECT_EQ(out.str(),
            "  name       time\n"
            "  a       3.21 µs\n"
            "  longer    12 ns  x\n");
}

TEST(Terminal, ProgressIsSilentInAPipe) {
  std::ostringstream pipe, terminal;
  {
    ProgressLine quiet(pipe, Interactivity::kPipe);
    quiet.show("working");
    ProgressLine loud(terminal, Interactivity::kTerminal);
    loud.show("working");
  }
  EXPECT_EQ(pipe.str(), "");
  EXPECT_EQ(terminal.str(), "\r\x1b[Kworking\r\x1b[K");
}

TEST(Text, FirstLinesSaysHowManyItLeavesOut) {
  EXPECT_EQ(first_lines("a\nb\nc\n", 2, "> "), "> a\n> b\n> ... 1 more line\n");
  EXPECT_EQ(first_lines("", 2, "> "), "");
  EXPECT_EQ(counted(1, "trace"), "1 trace");
  EXPECT_EQ(counted(0, "trace"), "0 traces");
}

TEST(VerdictView, SaysTheWorstErrorAndTheRateThatCounts) {
  Verdict verdict;
  verdict.timings = {{TimingMode::kCold, Clock::kHost, {1000.0, 990.0, 1010.0}, 20, false}};
  verdict.roofline = {.bytes = 612e3, .flops = 1e6, .fraction = 0.5, .bound = "memory"};
  EXPECT_EQ(rate_cell(verdict), "612 GB/s");
  verdict.roofline.bound = "compute";
  EXPECT_EQ(rate_cell(verdict), "1.00 TFLOP/s");
  EXPECT_EQ(error_cell(verdict), "");
  verdict.outputs = {{.name = "a", .honest_ratio = 0.5}, {.name = "b", .honest_ratio = 1.25}};
  EXPECT_EQ(error_cell(verdict), "exact");
  verdict.outputs[1].stats.sum_squared_error = 1.0;
  EXPECT_EQ(error_cell(verdict), "1.25x honest");
}

TEST(VerdictView, ShowsEverySection) {
  Verdict verdict;
  verdict.id = 7;
  verdict.status = VerdictStatus::kIncorrectNumerical;
  verdict.reason = "precision";
  verdict.message = "output is 8x as far off as an honest implementation";
  verdict.outputs = {{.name = "output", .honest_ratio = 8.0}};
  verdict.outputs[0].stats.histogram[3] = 12;
  verdict.samples = {{TimingMode::kCold, Clock::kHost, {{.time_ns = 10}, {.time_ns = 20}}}};
  verdict.kernels = {{.name = "rmsnorm<4096>", .share = 1.0}};
  verdict.log = "solution.cpp:3: warning";
  std::ostringstream out;
  print_verdict(out, Style(), verdict);
  for (const char* expected :
       {"Verdict 7  INCORRECT_NUMERICAL (precision)", "8x as far off", "Outputs", "2^-13",
        "Kernels", "rmsnorm<4096>", "cold samples", "Log", "solution.cpp:3: warning"}) {
    EXPECT_NE(out.str().find(expected), std::string::npos) << expected << " in\n" << out.str();
  }
}

}  // namespace
}  // namespace fib
