#pragma once

// Ranking: arithmetic on what the store remembers of each solution's newest verdicts. No database
// in here.
//
// One board is one (signature, hardware, configuration): results measured differently are never
// compared. Of several versions of a solution (same name and author) the one judged last counts.
//
//   * A solution is ranked when every workload of the board passed and has a cold timing.
//   * Its latency is the geometric mean of its cold medians, weighted by the workloads' traffic.
//   * The baseline is the slowest ranked solution of the house (author "fib"), else the slowest
//     ranked one. Speedup is the baseline's latency over the solution's.
//   * Its interval is by the delta method: each median's distribution-free 95 % interval gives a
//     standard error of its logarithm, (ln high - ln low) / (2 * 1.96), and independent errors of a
//     weighted mean add in squares. The baseline is a fixed yardstick: its own noise shows in its
//     own row only, so intervals of two rows are independent and may be compared.
//   * Rows whose interval overlaps that of the first row of their rank share the rank.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fib {

inline constexpr std::string_view kHouseAuthor = "fib";

struct BoardRow {
  int rank = 0;  // ties share a rank; 0: not ranked (incomplete or failing)
  std::string solution, author, signature, hardware;
  std::string config_key;  // results of different configurations are not compared
  bool is_baseline = false;
  int64_t workloads_passed = 0, workloads_total = 0;
  double geomean_latency_ns = 0.0;  // traffic-weighted over workloads, cold; 0 unless ranked
  double geomean_speedup = 0.0;     // over the baseline; 0 unless ranked
  double speedup_low = 0.0, speedup_high = 0.0;  // 95 %
  double worst_speedup = 0.0;
  std::string worst_workload;
  double roofline_fraction = 0.0;  // traffic-weighted mean over the workloads it is known for
  std::string failing_status;      // first status that is not PASSED
  std::string solution_key;
};

// What is known of one solution on one workload.
struct Standing {
  size_t workload = 0;                                          // index into BoardInput::workloads
  std::string failing_status;                                   // empty: passed
  double cold_ns = 0.0, cold_low_ns = 0.0, cold_high_ns = 0.0;  // 0: not timed
  double roofline_fraction = 0.0;                               // 0: unknown
};

struct BoardEntry {
  std::string solution, author;
  int64_t newest_verdict = 0;
  std::vector<Standing> standings;  // at most one a workload, by workload
  std::string solution_key;
};

struct BoardWorkload {
  std::string id;
  double weight = 1.0;
};

struct BoardInput {
  std::string signature, hardware, config_key;
  std::vector<BoardWorkload> workloads;  // every workload that any entry was judged on
  std::vector<BoardEntry> entries;
};

// Ranked rows first, best first; then the others, those with most workloads passed first.
std::vector<BoardRow> rank_board(const BoardInput& input);

}  // namespace fib
