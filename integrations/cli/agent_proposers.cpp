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
  visit("--exec-offline", args.exec_is_offline);
  visit("--exec-parallel", args.exec_parallel);
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

Result<std::unique_ptr<Proposer>> make_exec(const Context& context, const ProposerArgs& args,
                                            std::string_view command) {
  std::vector<std::string> words = FIB_TRY(agents::split_command(command));
  agents::ExecOptions options{.program = words.front(),
                              .arguments = {words.begin() + 1, words.end()},
                              .environment = whole_environment(),
                              .scratch = context.cache_folder / "exec",
                              .abi = context.home.abi(),
                              .readable = args.exec_readable,
                              .parallel = args.exec_parallel};
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

Json ProposerArgs::to_json() const {
  Json json = {{"proposers", proposers}};
  each_option(*this, [&](const char* name, const auto& value) { json[name] = value; });
  json["--exec-readable"] = Json::array();
  for (const std::filesystem::path& folder : exec_readable) {
    json["--exec-readable"].push_back(folder.string());
  }
  return json;
}

void add_proposer_options(CLI::App& app, ProposerArgs& args) {
  app.add_option("--proposer", args.proposers,
                 "Who proposes: tune, tune:STRATEGY, mutate, llm, 'exec:PROGRAM ARG...'; "
                 "repeatable; default: tune,mutate")
      ->type_name("WHO,...");
  add_llm_options(app, args.llm);
  constexpr const char* kGroup = "Proposer exec";
  app.add_option("--exec-readable", args.exec_readable,
                 "A folder that the program may read besides the system's and its own")
      ->type_name("DIR")
      ->group(kGroup);
  app.add_flag("--exec-offline", args.exec_is_offline, "The program gets no network")
      ->group(kGroup);
  app.add_option("--exec-parallel", args.exec_parallel, "Calls at a time")
      ->check(CLI::Range(1, 256))
      ->capture_default_str()
      ->group(kGroup);
}

Result<void> take_stored(const CLI::App& app, const Json& stored, ProposerArgs& args) {
  const JsonView view(stored, "the run's options", "/setup/proposers");
  args.proposers = FIB_TRY(FIB_TRY(view.at("proposers")).strings());
  if (app.count("--exec-readable") == 0) {
    for (const std::string& folder : FIB_TRY(FIB_TRY(view.at("--exec-readable")).strings())) {
      args.exec_readable.emplace_back(folder);
    }
  }
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
