#include "agents/search/run.h"

#include <fmt/format.h>

#include <algorithm>

#include "agents/search/loop.h"

namespace fib::agents {

namespace {

std::string where_of(int64_t run) { return fmt::format("run {}", run); }

Result<double> number_at(const JsonView& view, std::string_view key) {
  return FIB_TRY(view.at(key)).number();
}
Result<int64_t> integer_at(const JsonView& view, std::string_view key) {
  return FIB_TRY(view.at(key)).integer();
}

Json plan_to_json(const RunPlan& plan) {
  Json seeds = Json::array();
  for (const Solution& seed : plan.seeds) {
    seeds.push_back({{"key", solution_key(seed)}, {"name", seed.name}});
  }
  return {{"search", plan.search.to_json()},
          {"staging", plan.staging.to_json()},
          {"seeds", seeds},
          {"setup", plan.setup.is_null() ? Json::object() : plan.setup}};
}

Result<void> check(const RunTools& tools, const RunOptions& options) {
  FIB_CHECK(options.plan.search.check("search"));
  if (options.plan.seeds.empty()) {
    return fail(ErrorCode::kInvalidInput, "a search needs at least one solution to begin with",
                "seeds");
  }
  for (const std::string& name : options.plan.search.proposers) {
    if (std::ranges::none_of(tools.proposers, [&](const auto& it) { return it->name() == name; })) {
      return fail(ErrorCode::kInvalidInput, fmt::format("there is no proposer '{}'", name),
                  "proposers", "a run is resumed with the proposers it was begun with");
    }
  }
  return {};
}

// The run is ours from here on. Returns its number.
Result<int64_t> begin(const RunTools& tools, const RunOptions& options) {
  if (!options.resume) {
    for (const Solution& seed : options.plan.seeds) FIB_CHECK(tools.store.add_solution(seed));
    return tools.archive.begin({.signature = options.signature->name,
                                .target = options.target,
                                .hardware = options.hardware_key,
                                .options = plan_to_json(options.plan)});
  }
  const RunRecord before = FIB_TRY(tools.archive.run(*options.resume));
  if (before.signature != options.signature->name || before.target != options.target ||
      before.hardware != options.hardware_key) {
    return fail(
        ErrorCode::kInvalidInput,
        fmt::format("was on {} for {} with {}", before.hardware, before.signature, before.target),
        where_of(*options.resume), "begin a new run here");
  }
  FIB_CHECK(tools.archive.resume(*options.resume));
  FIB_CHECK(tools.archive.change_options(*options.resume, plan_to_json(options.plan)));
  return *options.resume;
}

// How the time is counted is the archive's business: it knows when nobody had the run.
Result<RunSummary> go_on(const RunTools& tools, const RunOptions& options, const RunHooks& hooks,
                         int64_t run) {
  const double past_s = FIB_TRY(tools.archive.run(run)).active_s;
  std::vector<CandidateRecord> past = FIB_TRY(tools.archive.candidates(run));
  for (size_t number = 0; number < past.size(); ++number) {
    if (past[number].number != static_cast<int64_t>(number)) {
      return fail(ErrorCode::kInvalidInput, fmt::format("candidate {} is missing", number),
                  where_of(run), "the store is damaged: begin a new run");
    }
  }
  Loop loop(tools, options, hooks, run, past_s);
  loop.replay(std::move(past));
  FIB_CHECK(loop.run());
  FIB_CHECK(loop.confirm_best());
  return loop.summary();
}

}  // namespace

Json Staging::to_json() const {
  return {{"slow_margin", slow_margin},
          {"race", has_race},
          {"race_margin", race_margin},
          {"control_share", control_share},
          {"confirm_interval", confirm_interval},
          {"most_confirmations", most_confirmations}};
}

Result<Staging> Staging::from_json(const Json& json, std::string_view where) {
  const JsonView view(json, std::string(where));
  FIB_CHECK(view.only_keys(
      {"slow_margin", "race", "race_margin", "control_share", "confirm_interval",
       "most_confirmations"}));
  // Runs that were begun before there was a race go on without; once there was one margin for both.
  const auto race = view.find("race");
  const bool has_own_margin = json.contains("race_margin");
  return Staging{.slow_margin = FIB_TRY(number_at(view, "slow_margin")),
                 .has_race = race && FIB_TRY(race->boolean()),
                 .race_margin =
                     FIB_TRY(number_at(view, has_own_margin ? "race_margin" : "slow_margin")),
                 .control_share = FIB_TRY(number_at(view, "control_share")),
                 .confirm_interval = FIB_TRY(integer_at(view, "confirm_interval")),
                 .most_confirmations = FIB_TRY(integer_at(view, "most_confirmations"))};
}

Json RunSummary::to_json() const {
  Json by_proposer = Json::object();
  for (const auto& [name, its] : tally.proposers()) {
    Json& proposer = by_proposer[name] = its.counts_to_json();
    proposer.update({{"seconds", its.cost.seconds},
                     {"tokens", its.cost.prompt_tokens + its.cost.answer_tokens},
                     {"money", its.cost.money}});
  }
  Json winner;
  if (best) {
    winner = {{"number", best->number},
              {"solution", best->solution_name},
              {"solution_key", best->solution_key},
              {"speedup", best->speedup},
              {"speedup_low", best->speedup_low},
              {"speedup_high", best->speedup_high},
              {"is_confirmed", best->is_confirmed},
              {"is_gain", is_gain}};
    if (best->is_confirmed) {
      winner["judged_speedup"] = best->judged_speedup;
      winner["shrinkage"] = 1.0 - best->speedup / best->judged_speedup;
    }
  }
  return {{"run", run},
          {"state", run_state_name(state)},
          {"end_reason", end_reason},
          {"candidates", tally.candidates()},
          {"seeds", tally.seeds()},
          {"measured", tally.measured()},
          {"early_kills", tally.early_kills()},
          {"rejected", tally.rejected()},
          {"proposers", by_proposer},
          {"set_aside", set_aside},
          {"best", winner},
          {"spent",
           {{"candidates", spent.candidates},
            {"seconds", spent.seconds},
            {"tokens", spent.tokens},
            {"money", spent.money}}},
          {"controls", tally.controls().to_json()},
          {"candidates_per_hour", candidates_per_hour},
          {"startup_s", startup_s},
          {"steady_candidates_per_hour", steady_candidates_per_hour},
          {"device_idle_share", device_idle_share}};
}

Result<RunPlan> stored_plan(const RunArchive& archive, const Store& store, int64_t run) {
  const RunRecord record = FIB_TRY(archive.run(run));
  const std::string where = where_of(run);
  const JsonView view(record.options, where);
  FIB_CHECK(view.only_keys({"search", "staging", "seeds", "setup"}));
  RunPlan plan;
  plan.search = FIB_TRY(SearchOptions::from_json(FIB_TRY(view.at("search")).json(), where));
  plan.staging = FIB_TRY(Staging::from_json(FIB_TRY(view.at("staging")).json(), where));
  const JsonView seeds = FIB_TRY(view.at("seeds"));
  for (const JsonView& seed : FIB_TRY(seeds.array())) {
    const JsonView key = FIB_TRY(seed.at("key")), name = FIB_TRY(seed.at("name"));
    Solution solution = FIB_TRY(store.solution(FIB_TRY(key.string())));
    solution.name = FIB_TRY(name.string());
    plan.seeds.push_back(std::move(solution));
  }
  plan.setup = FIB_TRY(view.at("setup")).json();
  return plan;
}

Result<RunSummary> run_search(const RunTools& tools, const RunOptions& options,
                              const RunHooks& hooks) {
  FIB_CHECK(check(tools, options));
  const int64_t run = FIB_TRY(begin(tools, options));
  auto summary = go_on(tools, options, hooks, run);
  // Where even this fails, the archive says at the next look that the run was killed.
  auto ended = summary ? tools.archive.end(run, summary->state, summary->end_reason)
                       : tools.archive.end(run, RunState::kStopped, summary.error().to_string());
  if (summary && !ended) return fail(ended.error());
  return summary;
}

}  // namespace fib::agents
