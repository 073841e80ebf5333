#include "harness/solo_session.h"

#include "harness/judge.h"

namespace fib {

Result<Verdict> measure_alone(Session& session, const SoloRequest& request) {
  const PosedProblem& posed = request.posed;
  MeasureRequest measure{.contenders = {request.artifact},
                         .problem = posed.problem,
                         .value_sets = posed.value_sets,
                         .expected = request.expected,
                         .config = request.config};
  measure.config.seed = posed.session_seed;
  const std::vector<ContenderOutcome> outcomes = FIB_TRY(session.measure(measure));
  // By now in memory, unless the candidate failed before it was ever asked for.
  const Result<ExpectedPtr> yardstick =
      outcomes.front().checks.empty() ? Result<ExpectedPtr>(nullptr) : request.expected(0);
  return judge({.problem = posed.problem,
                .solution = request.solution,
                .artifact = *request.artifact,
                .device = session.device(),
                .outcome = outcomes.front(),
                .inputs = posed.value_sets.front(),
                .expected = yardstick ? yardstick->get() : nullptr});
}

}  // namespace fib
