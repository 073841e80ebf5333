#include "agents/proposers/mutate.h"

#include <fmt/format.h>

#include <random>
#include <set>
#include <string_view>
#include <unordered_set>

#include "agents/proposers/mutate/changes.h"

namespace fib::agents {
namespace {

// Chance from the request's seed alone. Not the standard's distributions: they may differ between
// libraries, and a run has to go on anywhere as it began.
class Draw {
 public:
  explicit Draw(uint64_t seed) : bits_(seed) {}
  size_t below(size_t count) { return bits_() % count; }
  bool happens(double chance) { return static_cast<double>(bits_() >> 11) * 0x1p-53 < chance; }
  template <class T>
  const T& among(const std::vector<T>& items) {
    return items[below(items.size())];
  }

 private:
  std::mt19937_64 bits_;
};

ProposalOutcome refused(std::string reason, std::string message) {
  ProposalOutcome outcome;
  outcome.refusal = Refusal{std::move(reason), std::move(message)};
  return outcome;
}

const Change& draw_change(const Changes& changes, Draw& draw) {
  std::vector<const std::vector<Change>*> sources;
  for (const auto* source : {&changes.alternatives, &changes.blocks, &changes.values}) {
    if (!source->empty()) sources.push_back(source);
  }
  return draw.among(*draw.among(sources));
}

// A few changes that don't undo one another: to different blocks, to different tunables.
std::vector<const Change*> draw_changes(const Changes& changes, const MutateOptions& options,
                                        Draw& draw) {
  std::vector<const Change*> drawn;
  std::set<std::string> blocks;
  std::set<size_t> tunables;
  const auto is_free = [&](const Change& change) {
    if (const auto* block = std::get_if<BlockChange>(&change.what)) {
      return blocks.insert(block->block).second;
    }
    const auto& values = std::get<ValueChange>(change.what).values;
    for (const auto& [tunable, value] : values) {
      if (tunables.contains(tunable)) return false;
    }
    for (const auto& [tunable, value] : values) tunables.insert(tunable);
    return true;
  };
  for (int i = 0; i < options.max_changes && (i == 0 || draw.happens(options.another)); ++i) {
    const Change& change = draw_change(changes, draw);
    if (is_free(change)) drawn.push_back(&change);
  }
  return drawn;
}

// Nothing: the constraints don't admit the outcome.
Result<std::optional<Solution>> apply(const std::vector<const Change*>& changes,
                                      const Solution& parent, const DesignSpace& space,
                                      const Signature& signature) {
  Solution solution = parent;
  Configuration configuration = FIB_TRY(configuration_of(parent, space));
  bool is_reconfigured = false;
  for (const Change* change : changes) {
    if (const auto* block = std::get_if<BlockChange>(&change->what)) {
      solution = FIB_TRY(with_block(solution, block->block, block->text));
      continue;
    }
    for (const auto& [tunable, value] : std::get<ValueChange>(change->what).values) {
      configuration[tunable] = value;
    }
    is_reconfigured = true;
  }
  if (!is_reconfigured) return std::optional(std::move(solution));
  if (!FIB_TRY(admits(space, configuration, signature))) return std::optional<Solution>();
  return std::optional(FIB_TRY(with_configuration(solution, space, configuration)));
}

class MutateProposer final : public Proposer {
 public:
  explicit MutateProposer(MutateOptions options) : options_(options) {}

  std::string_view name() const override { return "mutate"; }

  bool suits(const Solution& parent) const override {
    const auto space = design_space_of(parent);
    if (!space) return false;
    if (!space->empty()) return true;
    const auto blocks = source_blocks(parent);  // undeclared ones can come from other parents
    return blocks && !blocks->empty();
  }

  Result<ProposalOutcome> propose(const ProposalRequest& request) override {
    // A solution of the run whose space can't be read is a candidate's fault, not the run's end.
    auto outcome = draw_proposal(request);
    if (!outcome) return refused("malformed", outcome.error().to_string());
    return outcome;
  }

 private:
  Result<ProposalOutcome> draw_proposal(const ProposalRequest& request) const {
    const Solution& parent = request.parent.solution;
    const DesignSpace space = FIB_TRY(design_space_of(parent));
    const Changes changes = FIB_TRY(changes_of(request.parent, space, request.others));
    if (changes.empty()) {
      return refused("exhausted", "neither the parent nor the others have anything to exchange");
    }
    std::unordered_set<std::string> tried = {solution_key(parent)};
    for (const CandidateRecord& candidate : *request.history) tried.insert(candidate.solution_key);

    Draw draw(request.seed);
    for (int i = 0; i < options_.draws; ++i) {
      const auto drawn = draw_changes(changes, options_, draw);
      std::optional<Solution> solution = FIB_TRY(apply(drawn, parent, space, *request.signature));
      if (!solution || tried.contains(solution_key(*solution))) continue;
      ProposalOutcome outcome;
      for (const Change* change : drawn) {
        outcome.note += (outcome.note.empty() ? "" : "; ") + change->note;
        if (change->lender) outcome.lenders.push_back(*change->lender);
      }
      outcome.solution = std::move(solution);
      return outcome;
    }
    return refused("exhausted",
                   fmt::format("{} draws gave nothing that wasn't tried before", options_.draws));
  }

  const MutateOptions options_;
};

}  // namespace

std::unique_ptr<Proposer> make_mutate_proposer(MutateOptions options) {
  return std::make_unique<MutateProposer>(options);
}

}  // namespace fib::agents
