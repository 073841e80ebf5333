// fib agent run: a search for a faster solution of one signature, begun or gone on with.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <ostream>
#include <thread>

#include "agents/search/live_bench.h"
#include "agents/search/run.h"
#include "integrations/cli/agent_budget.h"
#include "integrations/cli/agent_commands.h"
#include "integrations/cli/agent_numbers.h"
#include "integrations/cli/agent_progress.h"
#include "integrations/cli/agent_proposers.h"
#include "integrations/cli/agent_seeds.h"
#include "integrations/cli/evaluation.h"
#include "integrations/cli/instances.h"
#include "integrations/cli/interrupt.h"
#include "integrations/cli/runners.h"

namespace fib {

namespace {

constexpr int kMostBuilders = 16;

struct AgentRunArgs {
  std::string signature, target;
  std::vector<std::string> budget;
  std::vector<std::string> seeds;
  ProposerArgs proposers{.proposers = {"tune,mutate"}};
  int64_t resume = 0;  // 0: a new run
  agents::SearchOptions search;
  int in_flight = 0;  // 0: as many as keep builders and devices busy
  int builders = 0;   // 0: by the number of processors
  double proposal_timeout_s = 0.0;  // 0: longer than anybody at work takes
  bool is_race_off = false;
  WorkloadChoice workloads;
  MeasureArgs measure;

  // All that a resumed run has to have again, besides the plan.
  Json setup() const {
    return {
        {"proposers", proposers.to_json()},
        {"budget", budget},
        {"proposal_timeout_s", proposal_timeout_s},
        {"workloads",
         {{"path", workloads.path.empty()
                       ? ""
                       : std::filesystem::absolute(workloads.path).lexically_normal().string()},
          {"limit", workloads.limit}}},
        {"measure",
         {{"modes", measure.modes}, {"samples", measure.samples}, {"quick", measure.is_quick}}}};
  }
};

Result<void> take_setup(const CLI::App& command, const Json& setup, AgentRunArgs& args) {
  const JsonView view(setup, "the run's options", "/setup");
  const JsonView workloads = FIB_TRY(view.at("workloads"));
  args.workloads.path = FIB_TRY(FIB_TRY(workloads.at("path")).string());
  args.workloads.limit = FIB_TRY(FIB_TRY(workloads.at("limit")).integer());
  const JsonView measure = FIB_TRY(view.at("measure"));
  args.measure.modes = FIB_TRY(FIB_TRY(measure.at("modes")).string());
  args.measure.samples = FIB_TRY(FIB_TRY(measure.at("samples")).string());
  args.measure.is_quick = FIB_TRY(FIB_TRY(measure.at("quick")).boolean());
  args.budget = FIB_TRY(merge_budgets(FIB_TRY(FIB_TRY(view.at("budget")).strings()), args.budget));
  const auto timeout = view.find("proposal_timeout_s");  // runs of before have none
  if (timeout && command.count("--proposal-timeout") == 0) {
    args.proposal_timeout_s = FIB_TRY(timeout->number());
  }
  return take_stored(command, FIB_TRY(view.at("proposers")).json(), args.proposers);
}

// Where candidates are tried, with all that it is made of.
struct Site {
  std::vector<std::unique_ptr<Runner>> runners;
  Runner* runner = nullptr;
  std::vector<DeviceInfo> devices;
  SignaturePtr signature;
  std::vector<Problem> problems;
  int builders = 1;
};

Result<Site> find_site(const Context& context, const AgentRunArgs& args) {
  const int processors = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  Site site{.builders =
                args.builders > 0 ? args.builders : std::clamp(processors - 1, 1, kMostBuilders)};
  site.runners = make_runners(context, site.builders);
  std::string target = args.target;
  for (const auto& runner : site.runners) {
    if (target.empty() && runner->available().ok) target = runner->target();
  }
  site.runner = FIB_TRY(find_runner(site.runners, target));
  site.devices = FIB_TRY(parse_devices(*site.runner, args.measure.devices));
  const Catalog catalog = FIB_TRY(open_catalog(context, args.workloads.path));
  site.signature = FIB_TRY(catalog.find(args.signature));
  BoundProblems bound = bind_workloads(
      site.signature, FIB_TRY(choose_workloads(context, *site.signature, args.workloads)));
  if (!bound.errors.empty()) return fail(bound.errors.front());
  site.problems = std::move(bound.problems);
  return site;
}

// The workloads that the devices have room for.
Result<void> drop_too_large(const Context& context, int value_sets, Site& site) {
  std::vector<EvaluationJob> jobs(1);
  jobs.front().problems = std::move(site.problems);
  for (const std::string& note : drop_too_large(site.devices, value_sets, jobs)) {
    context.err << note << "\n";
  }
  if (jobs.empty()) {
    return fail(ErrorCode::kResourceExhausted, "no workload fits the device's memory",
                site.signature->name, "name workloads of your own with --workloads");
  }
  site.problems = std::move(jobs.front().problems);
  return {};
}

agents::RunPlan new_plan(const AgentRunArgs& args, const Site& site, std::vector<Solution> seeds,
                         const std::vector<std::shared_ptr<agents::Proposer>>& proposers) {
  agents::RunPlan plan{.search = args.search,
                       .staging = {.has_race = !args.is_race_off},
                       .seeds = std::move(seeds),
                       .setup = args.setup()};
  for (const auto& proposer : proposers) plan.search.proposers.emplace_back(proposer->name());
  const int devices = static_cast<int>(site.devices.size());
  plan.search.lag = args.in_flight > 0 ? args.in_flight : site.builders + 2 * devices + 1;
  return plan;
}

Result<int> run_agent(const Context& context, const CLI::App& command, AgentRunArgs args) {
  const auto store = FIB_TRY(Store::open(context.store_file));
  const auto archive = FIB_TRY(RunArchive::open(context.store_file));
  std::optional<agents::RunPlan> stored;
  if (args.resume > 0) {
    const RunRecord record = FIB_TRY(archive->run(args.resume));
    stored = FIB_TRY(agents::stored_plan(*archive, *store, args.resume));
    args.signature = record.signature;
    args.target = record.target;
    FIB_CHECK(take_setup(command, stored->setup, args));
  }
  if (args.budget.empty()) args.budget = {"200"};
  const agents::Amounts budget = FIB_TRY(parse_budget(args.budget));
  const EvaluationOptions evaluation = FIB_TRY(evaluation_options(args.measure));
  const auto proposers = FIB_TRY(make_proposers(context, args.proposers));
  FIB_CHECK(check_budget(budget, args.proposers));
  Site site = FIB_TRY(find_site(context, args));
  FIB_CHECK(drop_too_large(context, evaluation.measure.value_sets, site));
  const DeviceInfo& device = site.devices.front();

  agents::RunOptions options{.signature = site.signature,
                             .target = std::string(site.runner->target()),
                             .architecture = device.architecture,
                             .hardware = device.name,
                             .hardware_key = device.key,
                             .budget = budget};
  if (stored) {
    options.plan = *std::move(stored);
    options.plan.setup = args.setup();  // with what was said now
    options.resume = args.resume;
  } else {
    options.plan = new_plan(args, site,
                            FIB_TRY(find_seeds({.context = context,
                                                .runner = *site.runner,
                                                .signature = site.signature,
                                                .hardware = device.key,
                                                .store = *store,
                                                .asked = args.seeds})),
                            proposers);
  }
  options.proposal_timeout_s = args.proposal_timeout_s > 0.0
                                   ? args.proposal_timeout_s
                                   : args.proposers.longest_wait_s(options.plan.search.lag);
  if (!context.json()) {
    context.out << fmt::format("{} on {}: {}, from {}; budget: {}\n", site.signature->name,
                               device.name, fmt::join(options.plan.search.proposers, ", "),
                               options.plan.seeds.front().name, budget_in_words(budget));
  }

  ExpectedCache expected(context.cache_folder / kExpectedFolder, kExpectedDiskBytes,
                         kExpectedMemoryBytes);
  const auto bench = FIB_TRY(agents::make_live_bench({.runner = *site.runner,
                                                      .devices = site.devices,
                                                      .problems = site.problems,
                                                      .baseline = options.plan.seeds.front(),
                                                      .evaluation = evaluation,
                                                      .expected = expected,
                                                      .store = *store,
                                                      .builders = site.builders}));
  AgentProgress progress(context, budget);
  const InterruptGuard interrupt;
  const auto summary = FIB_TRY(agents::run_search(
      {.bench = *bench, .proposers = proposers, .archive = *archive, .store = *store}, options,
      {.on_candidate = [&](const CandidateRecord& it) { progress.on_candidate(it); },
       .on_begin = [&](const agents::RunProgress& it) { progress.on_begin(it); },
       .on_progress = [&](const agents::RunProgress& it) { progress.on_progress(it); },
       .cancelled = [&] { return interrupt.requested(); }}));
  progress.finish(summary);
  return interrupt.requested() ? kExitInterrupted : kExitPassed;
}

}  // namespace

void add_agent_run_command(CLI::App& agent, Action& action) {
  auto args = std::make_shared<AgentRunArgs>();
  CLI::App* command = agent.add_subcommand("run", "Search for a faster solution of a signature");
  std::vector<CLI::Option*> of_new_runs;
  const auto of_new = [&](CLI::Option* option) {
    of_new_runs.push_back(option);
    return option;
  };
  CLI::Option* signature =
      of_new(command->add_option("--signature", args->signature, "What is to become faster")
                 ->type_name("NAME"));
  of_new(
      command->add_option("--target", args->target, "cpu or cuda; default: cuda where it works"));
  command
      ->add_option("--budget", args->budget,
                   "Candidates (200), time (2h), tokens (500000tok), money (5usd); several with "
                   "commas. Default: 200. With --resume the run keeps those of other kinds; "
                   "no-candidates, no-time, no-tokens, no-money take one away")
      ->type_name("LIST");
  of_new(command
             ->add_option("--seeds", args->seeds,
                          "Begin with these, the first being what all are compared with: folders, "
                          "names or keys; default: the house's and the board's best")
             ->type_name("WHO"));
  add_proposer_options(*command, args->proposers);
  of_new(command->get_option("--proposer"));
  CLI::Option* resume =
      command->add_option("--resume", args->resume, "Go on with this run ('fib agent list')")
          ->check(run_number())
          ->type_name("RUN");
  of_new(command->add_option("--seed", args->search.seed, "Of all chance in the search")
             ->capture_default_str());
  of_new(command->add_option("--islands", args->search.islands, "Populations that breed apart")
             ->check(CLI::Range(1, 64))
             ->capture_default_str());
  of_new(command
             ->add_option("--in-flight", args->in_flight,
                          "Candidates at a time; default: what keeps builders and devices busy")
             ->check(CLI::Range(1, 256)));
  command->add_option("--builders", args->builders, "Compilers at a time; default: by processors")
      ->check(CLI::Range(1, 256));
  command
      ->add_option("--proposal-timeout", args->proposal_timeout_s,
                   "A proposer that takes longer, waiting for its turn included, hangs; default: "
                   "1800, or what calls of --exec-timeout or --llm-timeout come to")
      ->check(CLI::Range(0.1, 864000.0))
      ->type_name("SECONDS");
  of_new(command
             ->add_option("--workloads", args->workloads.path,
                          "A .jsonl file or a dataset instead of the built-in workloads")
             ->type_name("FILE|DIR"));
  of_new(command->add_option("--limit", args->workloads.limit, "At most so many workloads")
             ->check(whole_count()));
  command->add_option("--device,--devices", args->measure.devices, "Device indices, or all")
      ->type_name("N,...|all");
  of_new(
      command->add_option("--modes", args->measure.modes, "cold, warm, graph; cold is what ranks")
          ->type_name("LIST"));
  of_new(command->add_option("--samples", args->measure.samples, "Samples a timing mode")
             ->type_name("MIN:MAX"));
  of_new(command->add_flag("--quick", args->measure.is_quick,
                           "One value set, few samples: for trying out; ranked apart"));
  of_new(command->add_flag("--no-race", args->is_race_off,
                           "Judge in full also who, after a brief look at all workloads, can't "
                           "overtake the best"));
  command->add_option("--threads", args->measure.threads, "For references; default: all processors")
      ->check(whole_count());
  for (CLI::Option* option : of_new_runs) resume->excludes(option);
  command->footer(
      "Examples:\n"
      "  fib agent run --signature rmsnorm_h4096 --budget 30m\n"
      "  fib agent run --signature moe_int4_g32_topk8_e128_h2048_i768 --proposer tune,mutate,llm\n"
      "    --llm-model gpt-5 --llm-price-in 1.25 --llm-price-out 10 --budget 8h,20usd\n"
      "  fib agent run --signature rmsnorm_h4096 --proposer 'exec:python3 my_agent.py --fast'\n"
      "  fib agent run --resume 3 --budget 400\n"
      "Ctrl-C finishes what is being measured; --resume goes on from there.\n");
  command->callback([args, command, signature, &action] {
    if (args->resume == 0 && signature->count() == 0) throw CLI::RequiredError("--signature");
    action = [args, command](const Context& context) {
      return run_agent(context, *command, *args);
    };
  });
}

}  // namespace fib
