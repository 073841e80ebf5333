#include "integrations/cli/agent_proposers.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "agents/proposers/exec.h"
#include "agents/proposers/mutate.h"
#include "agents/proposers/tune.h"
#include "integrations/cli/text.h"

namespace fib {

namespace {

namespace fs = std::filesystem;
using agents::Proposer;

constexpr std::string_view kExec = "exec:";
constexpr const char* kOption = "--proposer";

// Every field of the options that a run is resumed with, by its option.
template <class Args, class Visit>
void each_option(Args& args, const Visit& visit) {
  visit("--llm-url", args.llm.url);
  visit("--llm-model", args.llm.model);
  visit("--llm-key-env", args.llm.key_env);
  visit("--llm-price-in", args.llm.price_in);
  visit("--llm-price-out", args.llm.price_out);
  visit("--llm-samples", args.llm.samples);
  visit("--llm-timeout", args.llm.timeout_s);
  visit("--llm-max-tokens", args.llm.max_tokens);
  visit("--llm-body", args.llm.body);
  visit("--llm-prompts", args.llm.prompts);
  visit("--exec-readable", args.exec_readable);
  visit("--exec-writable", args.exec_writable);
  visit("--exec-home", args.exec_home);
  visit("--exec-offline", args.exec_is_offline);
  visit("--exec-parallel", args.exec_parallel);
  visit("--exec-timeout", args.exec_timeout_s);
}

// A path that means the same to a resume that begins elsewhere. For CLI11: no complaint.
std::string make_whole(std::string& path) {
  path = fs::absolute(path).lexically_normal().string();
  return {};
}

std::vector<std::string> split_specs(const std::vector<std::string>& texts) {
  std::vector<std::string> specs;
  for (std::string_view rest : texts) {
    while (!rest.empty()) {
      const size_t comma = rest.starts_with(kExec) ? std::string_view::npos : rest.find(',');
      specs.emplace_back(rest.substr(0, comma));
      rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    }
  }
  return specs;
}

// A coding agent that somebody chose to run needs what it needs in a shell: its path, its keys.
std::vector<std::pair<std::string, std::string>> whole_environment() {
  std::vector<std::pair<std::string, std::string>> variables;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    variables.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return variables;
}

// A call runs in a folder of its own, so that a word that names a file becomes its whole path. What
// a script needs lies beside it.
void find_files(const fs::path& folder, std::vector<std::string>& words,
                std::vector<fs::path>& readable) {
  for (std::string& word : words) {
    const bool is_name_of_program = &word == words.data() && word.find('/') == std::string::npos;
    const fs::path path = (fs::current_path() / folder / word).lexically_normal();
    std::error_code ignored;
    if (is_name_of_program || !fs::is_regular_file(path, ignored)) continue;
    word = path.string();
    readable.push_back(path.parent_path());
    readable.push_back(fs::weakly_canonical(path, ignored).parent_path());  // of a link
  }
}

Result<std::unique_ptr<Proposer>> make_exec(const Context& context, const ProposerArgs& args,
                                            std::string_view command) {
  auto split = agents::split_command(command);
  if (!split) {
    Error error = std::move(split).error();
    error.where = fmt::format("{} '{}{}'", kOption, kExec, command);
    return fail(std::move(error));
  }
  std::vector<std::string> words = *std::move(split);
  std::vector<fs::path> readable(args.exec_readable.begin(), args.exec_readable.end());
  find_files(args.exec_folder, words, readable);
  agents::ExecOptions options{.program = words.front(),
                              .arguments = {words.begin() + 1, words.end()},
                              .environment = whole_environment(),
                              .scratch = context.cache_folder / "exec",
                              .abi = context.home.abi(),
                              .home = args.exec_home,
                              .readable = std::move(readable),
                              .writable = {args.exec_writable.begin(), args.exec_writable.end()},
                              .parallel = args.exec_parallel,
                              .timeout_s = args.exec_timeout_s};
  if (args.exec_is_offline) options.network = agents::ExecOptions::Network::kRefused;
  return agents::make_exec_proposer(std::move(options));
}

Result<std::unique_ptr<Proposer>> make_proposer(const Context& context, const ProposerArgs& args,
                                                const std::string& spec) {
  if (spec == "tune") return agents::make_tune_proposer();
  if (spec.starts_with("tune:")) {
    return agents::make_tune_proposer(
        {.strategy = FIB_TRY(agents::tune_strategy_from_name(spec.substr(5)))});
  }
  if (spec == "mutate") return agents::make_mutate_proposer();
  if (spec == "llm") return agents::make_llm_proposer(FIB_TRY(llm_options(context, args.llm)));
  if (spec.starts_with(kExec)) return make_exec(context, args, spec.substr(kExec.size()));
  return fail(ErrorCode::kInvalidInput, fmt::format("there is no proposer '{}'", spec), kOption,
              "tune, tune:STRATEGY, mutate, llm or 'exec:PROGRAM ARG...'");
}

}  // namespace

std::vector<std::string> ProposerArgs::names() const {
  std::vector<std::string> names;
  for (const std::string& spec : split_specs(proposers)) {
    names.push_back(spec.substr(0, spec.find(':')));
  }
  return names;
}

double ProposerArgs::longest_wait_s(int in_flight) const {
  constexpr double kLeast = 1800.0, kGrace = 60.0;
  constexpr double kAnswers = 2.0;  // of a model: one, and one after a complaint
  const auto turns = [&](int at_a_time) { return (in_flight + at_a_time - 1) / at_a_time; };
  double longest_s = kLeast;
  for (const std::string& name : names()) {
    const double wait_s = name == "exec"  ? turns(exec_parallel) * exec_timeout_s
                          : name == "llm" ? turns(llm.samples) * kAnswers * llm.timeout_s
                                          : 0.0;
    longest_s = std::max(longest_s, wait_s + kGrace);
  }
  return longest_s;
}

Json ProposerArgs::to_json() const {
  Json json = {{"proposers", proposers}};
  each_option(*this, [&](const char* name, const auto& value) { json[name] = value; });
  json["exec_folder"] = (fs::current_path() / exec_folder).string();
  return json;
}

void add_proposer_options(CLI::App& app, ProposerArgs& args) {
  app.add_option("--proposer", args.proposers,
                 "Who proposes: tune, tune:STRATEGY, mutate, llm, 'exec:PROGRAM ARG...'; "
                 "repeatable; default: tune,mutate")
      ->type_name("WHO,...");
  add_llm_options(app, args.llm);
  constexpr const char* kGroup = "Proposer exec";
  const auto add_place = [&](const char* name, auto& place, const char* about) {
    app.add_option(name, place, about)
        ->check(CLI::ExistingPath)
        ->transform(CLI::Validator(make_whole, ""))
        ->type_name("DIR")
        ->group(kGroup);
  };
  add_place("--exec-readable", args.exec_readable,
            "What the program may read besides the system's folders and its own");
  add_place("--exec-writable", args.exec_writable,
            "What it may write to besides its call's folder");
  add_place("--exec-home", args.exec_home,
            "Its HOME, which it may write to; default: the call's folder");
  app.add_flag("--exec-offline", args.exec_is_offline, "The program gets no network")
      ->group(kGroup);
  app.add_option("--exec-parallel", args.exec_parallel, "Calls at a time")
      ->check(CLI::Range(1, 256))
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--exec-timeout", args.exec_timeout_s, "A call that takes longer is ended")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str()
      ->type_name("SECONDS")
      ->group(kGroup);
}

Result<void> take_stored(const CLI::App& app, const Json& stored, ProposerArgs& args) {
  const JsonView view(stored, "the run's options", "/setup/proposers");
  args.proposers = FIB_TRY(FIB_TRY(view.at("proposers")).strings());
  if (const auto folder = view.find("exec_folder")) args.exec_folder = FIB_TRY(folder->string());
  each_option(args, [&](const char* name, auto& value) {
    // Written by to_json; what a later fib adds isn't there yet.
    if (app.count(name) == 0 && stored.contains(name)) stored.at(name).get_to(value);
  });
  return {};
}

Result<std::vector<std::shared_ptr<Proposer>>> make_proposers(const Context& context,
                                                              const ProposerArgs& args) {
  std::vector<std::shared_ptr<Proposer>> proposers;
  for (const std::string& spec : split_specs(args.proposers)) {
    std::shared_ptr<Proposer> proposer = FIB_TRY(make_proposer(context, args, spec));
    if (std::ranges::any_of(proposers,
                            [&](const auto& it) { return it->name() == proposer->name(); })) {
      return fail(ErrorCode::kInvalidInput, fmt::format("'{}' is there twice", proposer->name()),
                  kOption, "each proposer once");
    }
    proposers.push_back(std::move(proposer));
  }
  if (proposers.empty()) {
    return fail(ErrorCode::kInvalidInput, "nobody proposes", kOption, "for example tune,mutate");
  }
  return proposers;
}

}  // namespace fib
