// board, explain_verdict, best_solutions: what the store remembers.

#include <fmt/format.h>

#include <set>

#include "agents/mcp/feedback_views.h"
#include "agents/mcp/schema.h"
#include "agents/mcp/tools.h"
#include "agents/mcp/views.h"

namespace fib::mcp {

namespace {

constexpr size_t kMostRows = 100;
constexpr int64_t kMostBytes = 200'000;
constexpr int64_t kDefaultBytes = 60'000;
constexpr int64_t kMostSolutions = 10;

const Json kString{{"type", "string"}};
const Json kInteger{{"type", "integer"}};
const Json kObject{{"type", "object"}};

Result<std::vector<BoardRow>> rows_of(Workbench& workbench, const Json& arguments) {
  std::vector<BoardRow> rows = FIB_TRY(workbench.board(arguments.value("signature", "")));
  const std::string hardware = arguments.value("hardware", "");
  if (!hardware.empty()) {
    std::erase_if(rows, [&](const BoardRow& row) { return row.hardware != hardware; });
  }
  return rows;
}

Result<ToolAnswer> board(Workbench& workbench, const Json& arguments) {
  const std::vector<BoardRow> rows = FIB_TRY(rows_of(workbench, arguments));
  Json entries = Json::array();
  std::string text;
  for (const BoardRow& row : rows) {
    if (entries.size() == kMostRows) break;
    entries.push_back({{"signature", row.signature},
                       {"hardware", row.hardware},
                       {"config_key", row.config_key},
                       {"rank", row.rank},
                       {"solution", row.solution},
                       {"solution_key", row.solution_key},
                       {"author", row.author},
                       {"is_baseline", row.is_baseline},
                       {"workloads_passed", row.workloads_passed},
                       {"workloads_total", row.workloads_total},
                       {"geomean_latency_ns", row.geomean_latency_ns},
                       {"geomean_speedup", row.geomean_speedup},
                       {"speedup_low", row.speedup_low},
                       {"speedup_high", row.speedup_high},
                       {"worst_speedup", row.worst_speedup},
                       {"worst_workload", row.worst_workload},
                       {"roofline_fraction", row.roofline_fraction},
                       {"failing_status", row.failing_status}});
    text += row.rank > 0
                ? fmt::format("{}: {}. {}, {:.2f}x, {}\n", row.signature, row.rank, row.solution,
                              row.geomean_speedup, time_in_words(row.geomean_latency_ns))
                : fmt::format("{}: not ranked: {}, {} of {} workloads, {}\n", row.signature,
                              row.solution, row.workloads_passed, row.workloads_total,
                              row.failing_status);
  }
  if (rows.empty()) text = "no verdicts yet; submit makes some\n";
  return ToolAnswer{.structured = {{"rows", std::move(entries)}, {"total", rows.size()}},
                    .text = std::move(text)};
}

Tool board_tool(Workbench& workbench) {
  return {.name = "board",
          .title = "Read the board",
          .description =
              "Who leads: solutions ranked by the traffic-weighted geometric mean of their cold "
              "speedups over the baseline. Rows of different config_key were measured differently "
              "and aren't comparable; rank 0 is not ranked.",
          .input_schema =
              object_schema({{"signature", string_schema("Default: all that have verdicts")},
                             {"hardware", string_schema("This hardware key only")}}),
          .output_schema = {{"type", "object"},
                            {"properties", {{"rows", list_schema(kObject)}, {"total", kInteger}}},
                            {"required", {"rows", "total"}}},
          .run = [&workbench](const Json& arguments, const ToolCall&) {
            return board(workbench, arguments);
          }};
}

Tool explain_verdict_tool(Workbench& workbench) {
  return {
      .name = "explain_verdict",
      .title = "Explain a verdict",
      .description =
          "One verdict in full: status and reason, the outputs' errors with the first wrong "
          "index and a histogram, times by mode, the roofline, the kernels that ran, what the "
          "compiler said; and in words, as `profile` has it, what to look at.",
      .input_schema = object_schema(
          {{"id", {{"type", "integer"}, {"minimum", 1}, {"description", "The verdict's number"}}}},
          {"id"}),
      .output_schema = verdict_explanation_schema(),
      .run = [&workbench](const Json& arguments, const ToolCall&) -> Result<ToolAnswer> {
        const Verdict verdict = FIB_TRY(workbench.verdict(arguments["id"].get<int64_t>()));
        const Solution solution = FIB_TRY(workbench.find_solution(verdict.solution_key));
        return ToolAnswer{.structured = verdict_explanation(verdict, solution),
                          .text = verdict_page(verdict, solution)};
      }};
}

Result<ToolAnswer> best_solutions(Workbench& workbench, const Json& arguments) {
  const int64_t count = arguments.value("count", int64_t{1});
  int64_t bytes_left = arguments.value("max_bytes", kDefaultBytes);
  Json entries = Json::array();
  std::string text;
  std::set<std::string> seen;
  for (const BoardRow& row : FIB_TRY(rows_of(workbench, arguments))) {
    if (static_cast<int64_t>(entries.size()) == count) break;
    if (row.rank == 0 || !seen.insert(row.solution_key).second) continue;
    const Solution solution = FIB_TRY(workbench.find_solution(row.solution_key));
    Json files = Json::object();
    Json omitted = Json::array();
    text += fmt::format("=== {} by {}, rank {} on {}, {}: {}\n", row.solution, row.author, row.rank,
                        row.hardware, time_in_words(row.geomean_latency_ns), solution.description);
    for (const SourceFile& source : solution.sources) {
      const auto size = static_cast<int64_t>(source.content.size());
      if (size > bytes_left) {
        omitted.push_back({{"path", source.path}, {"size_bytes", size}});
        text += fmt::format("--- {} left out: {} bytes\n", source.path, size);
        continue;
      }
      bytes_left -= size;
      files[source.path] = source.content;
      text += fmt::format("--- {}\n{}\n", source.path, source.content);
    }
    entries.push_back({{"solution", row.solution},
                       {"solution_key", row.solution_key},
                       {"author", row.author},
                       {"description", solution.description},
                       {"rank", row.rank},
                       {"hardware", row.hardware},
                       {"geomean_latency_ns", row.geomean_latency_ns},
                       {"geomean_speedup", row.geomean_speedup},
                       {"manifest", solution.fib},
                       {"files", std::move(files)},
                       {"omitted", std::move(omitted)}});
  }
  if (entries.empty()) text = "nobody is ranked on this signature yet\n";
  return ToolAnswer{.structured = {{"solutions", std::move(entries)}}, .text = std::move(text)};
}

Tool best_solutions_tool(Workbench& workbench) {
  return {.name = "best_solutions",
          .title = "Sources of the leaders",
          .description = "The sources of the solutions that lead a signature's board.",
          .input_schema =
              object_schema({{"signature", {{"type", "string"}, {"minLength", 1}}},
                             {"hardware", string_schema("This hardware key only")},
                             {"count",
                              {{"type", "integer"},
                               {"minimum", 1},
                               {"maximum", kMostSolutions},
                               {"description", "How many solutions; default: 1"}}},
                             {"max_bytes",
                              {{"type", "integer"},
                               {"minimum", 1000},
                               {"maximum", kMostBytes},
                               {"description", "Sources beyond that are named, not shown"}}}},
                            {"signature"}),
          .output_schema = {{"type", "object"},
                            {"properties", {{"solutions", list_schema(kObject)}}},
                            {"required", Json::array({"solutions"})}},
          .run = [&workbench](const Json& arguments, const ToolCall&) {
            return best_solutions(workbench, arguments);
          }};
}

}  // namespace

std::vector<Tool> record_tools(Workbench& workbench) {
  return {board_tool(workbench), explain_verdict_tool(workbench), best_solutions_tool(workbench)};
}

}  // namespace fib::mcp
