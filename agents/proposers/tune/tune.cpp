#include "agents/proposers/tune.h"

#include <algorithm>

#include "agents/proposers/tune/strategy.h"
#include "agents/proposers/tune/trials.h"

namespace fib::agents {

namespace {

ProposalOutcome refused(std::string reason, std::string message) {
  ProposalOutcome outcome;
  outcome.refusal = Refusal{.reason = std::move(reason), .message = std::move(message)};
  return outcome;
}

class TuneProposer final : public Proposer {
 public:
  explicit TuneProposer(TuneOptions options) : strategy_(make_strategy(options.strategy)) {}

  std::string_view name() const override { return "tune"; }

  bool suits(const Solution& parent) const override {
    const auto space = design_space_of(parent);
    return space && std::any_of(space->tunables.begin(), space->tunables.end(),
                                [](const Tunable& one) { return one.values.size() > 1; });
  }

  Result<ProposalOutcome> propose(const ProposalRequest& request) override {
    const Solution& parent = request.parent.solution;
    // What a parent declares wrongly is the parent's fault and no reason to end a run.
    const auto space = design_space_of(parent);
    if (!space) return refused("malformed", space.error().to_string());
    const auto admitted = AdmittedSpace::of(*space, *request.signature);
    if (!admitted) return refused("malformed", admitted.error().to_string());

    KnownTrials known(request, *space);
    Draws draws(request.seed);
    while (const auto point = strategy_->pick(
               {.space = *admitted, .trials = known.trials(), .taken = known.taken()}, draws)) {
      const Configuration configuration = configuration_at(*space, *point);
      Solution solution = FIB_TRY(with_configuration(parent, *space, configuration));
      if (known.learn_if_known(*point, solution_key(solution))) continue;
      ProposalOutcome outcome;
      outcome.solution = std::move(solution);
      outcome.note = note_of(*space, FIB_TRY(configuration_of(parent, *space)), configuration);
      return outcome;
    }
    return refused("exhausted", admitted->is_listed()
                                    ? "every configuration that the constraints admit was tried"
                                    : "no untried configuration was found by drawing");
  }

 private:
  std::unique_ptr<Strategy> strategy_;
};

}  // namespace

std::unique_ptr<Proposer> make_tune_proposer(TuneOptions options) {
  return std::make_unique<TuneProposer>(options);
}

}  // namespace fib::agents
