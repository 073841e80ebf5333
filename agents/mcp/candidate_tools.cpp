// check, submit, compare, profile: what builds and measures.

#include <fmt/format.h>

#include "agents/mcp/feedback_views.h"
#include "agents/mcp/schema.h"
#include "agents/mcp/tools.h"
#include "agents/mcp/views.h"

namespace fib::mcp {

namespace {

constexpr int64_t kMostWorkloads = 10'000;
constexpr int64_t kUsualProfile = 4;  // workloads: enough for a best, a worst and what lies between
constexpr TextLimit kLogLimit{.lines = 80, .bytes = 8000};

Json with(Json properties, const Json& more) {
  properties.update(more);
  return properties;
}

Json signature_choice() {
  return {{"signature",
           string_schema("This signature only; default: all that the solution is written for, on "
                         "the cpu the small ones of a family")}};
}

Json measure_choices() {
  return with(
      signature_choice(),
      {{"limit",
        {{"type", "integer"},
         {"minimum", 1},
         {"maximum", kMostWorkloads},
         {"description", "At most so many workloads a signature; default: all"}}},
       {"quick",
        {{"type", "boolean"}, {"description", "Coarser and faster, for trying out; ranked apart"}}},
       {"force", {{"type", "boolean"}, {"description", "Measure again what is stored already"}}}});
}

Result<ToolAnswer> check(Workbench& workbench, const Folders& folders, const Json& arguments) {
  const Solution solution = FIB_TRY(read_candidate(arguments, folders, workbench));
  const std::vector<BuildReport> builds =
      FIB_TRY(workbench.check(solution, arguments.value("signature", "")));
  Json entries = Json::array();
  bool compiles = true;
  std::string text;
  for (const BuildReport& build : builds) {
    compiles = compiles && build.compiles;
    entries.push_back({{"signature", build.signature},
                       {"architecture", build.architecture},
                       {"compiles", build.compiles},
                       {"timed_out", build.timed_out},
                       {"from_cache", build.from_cache},
                       {"build_ms", build.build_ms},
                       {"log", shortened(build.log, kLogLimit)}});
    text += fmt::format("{} for {}: {}\n{}", build.signature, build.architecture,
                        build.compiles    ? "compiles"
                        : build.timed_out ? "the compiler took too long"
                                          : "does not compile",
                        shortened(build.log, {.lines = 30, .bytes = 3000}));
  }
  return ToolAnswer{.structured = {{"compiles", compiles}, {"builds", std::move(entries)}},
                    .text = std::move(text)};
}

Tool check_tool(Workbench& workbench, const Folders& folders) {
  return {.name = "check",
          .title = "Check that it compiles",
          .description =
              "Compile a solution, without running it; the compiler's messages come "
              "with their places.",
          .input_schema = object_schema(with(candidate_schema(), signature_choice())),
          .output_schema = {{"type", "object"},
                            {"properties",
                             {{"compiles", {{"type", "boolean"}}},
                              {"builds", list_schema({{"type", "object"}})}}},
                            {"required", {"compiles", "builds"}}},
          .pace = Tool::Pace::kSlow,
          .run = [&workbench, folders](const Json& arguments, const ToolCall&) {
            return check(workbench, folders, arguments);
          }};
}

// `submit` where there is no incumbent.
Result<ToolAnswer> evaluate(Workbench& workbench, const Folders& folders, const Json& arguments,
                            const ToolCall& call) {
  const EvaluationReport report = FIB_TRY(
      workbench.evaluate({.solution = FIB_TRY(read_candidate(arguments, folders, workbench)),
                          .signature = arguments.value("signature", ""),
                          .incumbent = arguments.value("incumbent", ""),
                          .limit = arguments.value("limit", int64_t{0}),
                          .is_quick = arguments.value("quick", false),
                          .is_forced = arguments.value("force", false)},
                         call));
  return ToolAnswer{.structured = evaluation_to_json(report), .text = evaluation_in_words(report)};
}

Tool evaluating_tool(Workbench& workbench, const Folders& folders, Tool tool) {
  tool.output_schema = evaluation_schema();
  tool.pace = Tool::Pace::kSlow;
  tool.effect = Tool::Effect::kAdds;
  tool.run = [&workbench, folders](const Json& arguments, const ToolCall& call) {
    return evaluate(workbench, folders, arguments, call);
  };
  return tool;
}

Tool submit_tool(Workbench& workbench, const Folders& folders) {
  return evaluating_tool(
      workbench, folders,
      {.name = "submit",
       .title = "Submit a solution",
       .description =
           "Compile, check and time a solution and store the verdicts: they count on the board. "
           "Reports progress; cancelled, it stops after the measurement that is under way, and the "
           "same call later goes on from there.",
       .input_schema = object_schema(with(candidate_schema(), measure_choices()))});
}

Tool compare_tool(Workbench& workbench, const Folders& folders) {
  Json properties = with(candidate_schema(), measure_choices());
  properties["incumbent"] = {
      {"type", "string"},
      {"minLength", 1},
      {"description",
       "'best': the board's leader; 'house': the house's best; or a solution's name or key"}};
  return evaluating_tool(
      workbench, folders,
      {.name = "compare",
       .title = "Compare with another solution",
       .description =
           "Submit, and time what passes side by side with another solution: faster, slower, same "
           "or ambiguous, with an interval. Faster is confirmed in a second session.",
       .input_schema = object_schema(std::move(properties), {"incumbent"})});
}

Result<ToolAnswer> profile(Workbench& workbench, const Folders& folders, const Json& arguments,
                           const ToolCall& call) {
  const ProfileReport report =
      FIB_TRY(workbench.profile({.solution = FIB_TRY(read_candidate(arguments, folders, workbench)),
                                 .signature = arguments.value("signature", ""),
                                 .parent = arguments.value("against", ""),
                                 .limit = arguments.value("limit", kUsualProfile),
                                 .wants_counters = arguments.value("counters", false)},
                                call));
  return ToolAnswer{.structured = profile_to_json(report), .text = profile_in_words(report)};
}

Tool profile_tool(Workbench& workbench, const Folders& folders) {
  Json properties = with(candidate_schema(), signature_choice());
  properties["limit"] = {
      {"type", "integer"},
      {"minimum", 1},
      {"maximum", kMostWorkloads},
      {"description",
       fmt::format("At most so many workloads a signature; default: {}", kUsualProfile)}};
  properties["against"] = {
      {"type", "string"},
      {"minLength", 1},
      {"description",
       "What it was made from: a solution's name or key, 'best' or 'house'. They are timed side by "
       "side, and the difference of speed, resources and sources is told; slower than without"}};
  properties["counters"] = {
      {"type", "boolean"},
      {"description",
       "Also read the device's counters (bytes moved, occupancy, bank conflicts, what warps wait "
       "for): on cuda, with Nsight Compute, in a second, slower run; default: false"}};
  return {.name = "profile",
          .title = "Profile a solution",
          .description =
              "What to improve next: compile, measure coarsely (quick; the verdicts are stored), "
              "and tell where the time goes against the roofline, by workload and kernel; "
              "registers, spills, shared memory and code size; what the compiler did that costs "
              "time; of what is wrong, where and how. With `against`, what a change did; with "
              "`counters`, what the device counted. What doesn't compile isn't measured.",
          .input_schema = object_schema(std::move(properties)),
          .output_schema = profile_schema(),
          .pace = Tool::Pace::kSlow,
          .effect = Tool::Effect::kAdds,
          .run = [&workbench, folders](const Json& arguments, const ToolCall& call) {
            return profile(workbench, folders, arguments, call);
          }};
}

}  // namespace

std::vector<Tool> candidate_tools(Workbench& workbench, const Folders& folders) {
  return {check_tool(workbench, folders), submit_tool(workbench, folders),
          compare_tool(workbench, folders), profile_tool(workbench, folders)};
}

}  // namespace fib::mcp
