#pragma once

// The seam for whatever writes candidates: tune, mutate, llm, exec. A proposer is given a parent, what
// came of it, and a seed, and answers with a solution or with the reason why there is none. Whatever
// it answers goes through the judge that everybody's solutions go through.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "leaderboard/run_archive.h"
#include "signatures/catalog.h"
#include "signatures/trace.h"

namespace fib::agents {

// A solution of the run and what became of it.
struct Ancestor {
  Solution solution;
  CandidateRecord record;
};

struct ProposalRequest {
  SignaturePtr signature;
  std::string target;        // "cpu", "cuda"
  std::string architecture;  // DeviceInfo::architecture
  std::string hardware;      // in words, for whoever reads
  uint64_t seed = 0;         // the only source of chance: the same request gives the same proposal
  // The one to be changed; the others are there to learn from, or to take blocks from, best first.
  Ancestor parent;
  std::vector<Ancestor> others;
  // All candidates that had been judged when this one was decided on, in order of their numbers.
  std::shared_ptr<const std::vector<CandidateRecord>> history;
  std::function<bool()> cancelled;  // never empty
};

// What came of asking. Exactly one of `solution` and `refusal` is there.
struct ProposalOutcome {
  std::optional<Solution> solution;
  std::string note;  // what was changed, in a line: "TILE 64 -> 128"
  std::vector<int64_t> lenders;  // numbers of those of the others that something was taken from
  std::optional<Refusal> refusal;
  ProposalCost cost;                 // counted in both cases
  std::vector<Exchange> exchanges;   // what was said to a model or a program and what it answered
};

class Proposer {
 public:
  virtual ~Proposer() = default;
  virtual std::string_view name() const = 0;  // "tune", "mutate", "llm", "exec"
  // False: this parent leaves it nothing to do (no tunables, no blocks); then it isn't asked.
  virtual bool suits(const Solution& parent) const = 0;
  // Thread-safe, and may take long: several are in flight at a time. Never an exception or an error
  // for what a model or a program does wrong: that is a refusal. An Error means that asking again is
  // pointless (no such endpoint, wrong key, program not there): the run ends with it.
  virtual Result<ProposalOutcome> propose(const ProposalRequest& request) = 0;
};

}  // namespace fib::agents
