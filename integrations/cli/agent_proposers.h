#pragma once

// Who proposes in a search, as the command line says it.

#include <memory>
#include <string>
#include <vector>

#include "agents/proposers/proposer.h"
#include "integrations/cli/context.h"
#include "integrations/cli/llm_options.h"

namespace fib {

struct ProposerArgs {
  // "tune", "tune:random", "mutate", "llm", "exec:PROGRAM ARG..."; commas separate all but the last
  // form, whose command is the rest.
  std::vector<std::string> proposers;
  LlmCliArgs llm;
  std::filesystem::path exec_folder;  // its words are seen from there; empty: the current one
  std::vector<std::string> exec_readable, exec_writable;  // whole paths, as exec_home
  std::string exec_home;
  bool exec_is_offline = false;
  int exec_parallel = 4;
  double exec_timeout_s = 600.0;

  std::vector<std::string> names() const;  // Proposer::name of each, as far as there is one
  // Of an answer, behind the others of so many in flight: who takes longer hangs.
  double longest_wait_s(int in_flight) const;
  // What of it a resumed run has to have again. No key is in it, only where it is found.
  Json to_json() const;
};
void add_proposer_options(CLI::App& app, ProposerArgs& args);
// Of a run that is resumed; options that `app` was given now count more.
Result<void> take_stored(const CLI::App& app, const Json& stored, ProposerArgs& args);

// Errors: an unknown proposer, one twice, options that one of them needs.
Result<std::vector<std::shared_ptr<agents::Proposer>>> make_proposers(const Context& context,
                                                                      const ProposerArgs& args);

}  // namespace fib
