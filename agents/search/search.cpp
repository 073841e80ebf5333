#include "agents/search/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <stdexcept>

#include "agents/search/chance.h"
#include "agents/search/grid.h"
#include "agents/search/population.h"

namespace fib::agents {

namespace {

// How often the fast are taken as parents rather than those that were tried least.
constexpr double kShareOfTheBest = 0.5;
// Of those, each is as likely as all behind it together.
constexpr double kShareOfTheFirst = 0.5;
constexpr size_t kMostOthers = 4;
constexpr int kMostIslands = 64;
constexpr int kMostInFlight = 256;

}  // namespace

Json SearchOptions::to_json() const {
  return {{"seed", seed}, {"islands", islands},         {"migration_interval", migration_interval},
          {"lag", lag},   {"exploration", exploration}, {"proposers", proposers}};
}

Result<SearchOptions> SearchOptions::from_json(const Json& json, std::string_view where) {
  const JsonView view(json, std::string(where));
  FIB_CHECK(
      view.only_keys({"seed", "islands", "migration_interval", "lag", "exploration", "proposers"}));
  SearchOptions options;
  // A seed takes all 64 bits.
  const JsonView seed = FIB_TRY(view.at("seed"));
  if (!seed.json().is_number_integer()) return seed.error("is not an integer");
  options.seed = seed.json().get<uint64_t>();
  options.islands = static_cast<int>(FIB_TRY(FIB_TRY(view.at("islands")).integer()));
  options.migration_interval = FIB_TRY(FIB_TRY(view.at("migration_interval")).integer());
  options.lag = static_cast<int>(FIB_TRY(FIB_TRY(view.at("lag")).integer()));
  options.exploration = FIB_TRY(FIB_TRY(view.at("exploration")).number());
  options.proposers = FIB_TRY(FIB_TRY(view.at("proposers")).strings());
  FIB_CHECK(options.check(where));
  return options;
}

Result<void> SearchOptions::check(std::string_view where) const {
  const auto refuse = [&](std::string_view field, std::string message) {
    return fail(ErrorCode::kInvalidInput, std::move(message), fmt::format("{}: /{}", where, field));
  };
  if (islands < 1 || islands > kMostIslands) {
    return refuse("islands", fmt::format("is {}, must be 1 to {}", islands, kMostIslands));
  }
  if (migration_interval < 1) {
    return refuse("migration_interval", fmt::format("is {}, must be positive", migration_interval));
  }
  if (lag < 1 || lag > kMostInFlight) {
    return refuse("lag", fmt::format("is {}, must be 1 to {}", lag, kMostInFlight));
  }
  if (!(exploration >= 0.0 && exploration <= 100.0)) {
    return refuse("exploration", fmt::format("is {}, must be 0 to 100", exploration));
  }
  if (proposers.empty()) return refuse("proposers", "names nobody");
  for (auto name = proposers.begin(); name != proposers.end(); ++name) {
    if (*name == kSeedProposer) return refuse("proposers", "'seed' is what seeds are proposed by");
    if (std::find(proposers.begin(), name, *name) != name) {
      return refuse("proposers", fmt::format("'{}' is there twice", *name));
    }
  }
  return {};
}

struct Search::State {
  explicit State(SearchOptions chosen)
      : options(std::move(chosen)), known(options), visible(options) {}

  const SearchOptions options;
  Population known;                      // of all that is recorded
  Population visible;                    // of what the next decision may know
  std::deque<CandidateRecord> waiting;   // recorded and not visible yet
  std::map<int64_t, std::string> asked;  // in flight as far as decisions know, by number
  int64_t seeds = 0;

  int64_t known_to(int64_t number) const { return std::max(seeds, number - options.lag + 1); }
  void let_see(int64_t number);
  std::vector<std::string> in_flight(int64_t number) const;
  int64_t choose_parent(int64_t number, const std::vector<Elite>& suitable) const;
};

// Makes visible what the decision on `number` may know.
void Search::State::let_see(int64_t number) {
  const int64_t horizon = known_to(number);
  if (number < known.size() || visible.size() > horizon || known.size() < horizon) {
    throw std::logic_error(fmt::format("candidate {} is decided on out of turn: {} of {} known",
                                       number, known.size(), horizon));
  }
  while (visible.size() < horizon) {
    asked.erase(waiting.front().number);
    visible.add(waiting.front());
    waiting.pop_front();
  }
}

std::vector<std::string> Search::State::in_flight(int64_t number) const {
  std::vector<std::string> proposers;
  for (const auto& [other, proposer] : asked) {
    if (other < number) proposers.push_back(proposer);
  }
  return proposers;
}

int64_t Search::State::choose_parent(int64_t number, const std::vector<Elite>& suitable) const {
  const double draw = chance(options.seed, number, ChanceFor::kParent);
  if (chance(options.seed, number, ChanceFor::kParentWay) < kShareOfTheBest) {
    size_t rank = 0;
    for (double left = draw; left < kShareOfTheFirst && rank + 1 < suitable.size(); ++rank) {
      left /= kShareOfTheFirst;
    }
    return suitable[rank].number;
  }
  int64_t fewest = INT64_MAX;
  std::vector<int64_t> least_tried;
  for (const Elite& elite : suitable) {
    const int64_t children = visible.children(elite.number);
    if (children < fewest) least_tried.clear();
    if (children <= fewest) least_tried.push_back(elite.number);
    fewest = std::min(fewest, children);
  }
  return least_tried[static_cast<size_t>(draw * static_cast<double>(least_tried.size()))];
}

Search::Search(SearchOptions options) {
  if (const auto checked = options.check("search"); !checked) {
    throw std::logic_error(checked.error().to_string());
  }
  state_ = std::make_unique<State>(std::move(options));
}

Search::~Search() = default;

const SearchOptions& Search::options() const { return state_->options; }

void Search::record(const CandidateRecord& candidate) {
  State& state = *state_;
  const bool is_seed = candidate.proposer == kSeedProposer;
  if (candidate.number != state.known.size() || (is_seed && candidate.number != state.seeds)) {
    throw std::logic_error(fmt::format("candidate {} is recorded out of turn: {} are",
                                       candidate.number, state.known.size()));
  }
  if (is_seed) {
    ++state.seeds;
  } else {
    state.asked[candidate.number] = candidate.proposer;
  }
  state.known.add(candidate);
  CandidateRecord slim = candidate;
  slim.feedback = Json();  // by far the largest part
  state.waiting.push_back(std::move(slim));
}

std::optional<Decision> Search::decide(
    int64_t number, const std::function<bool(const std::string&, int64_t)>& suits) const {
  State& state = *state_;
  state.let_see(number);
  const SearchOptions& options = state.options;
  const Population& visible = state.visible;
  Decision decision{.number = number,
                    .island = static_cast<int>(number % options.islands),
                    .seed = chance_bits(options.seed, number, ChanceFor::kProposal)};
  if (visible.best()) decision.best = visible.best()->number;

  // The island's own first; then anybody's; then seeds that were overtaken or need repair.
  const Grid& island = visible.island(decision.island);
  std::vector<std::vector<Elite>> circles = {
      island.elites(), visible.all_elites(), visible.right_seeds(), {}};
  for (const int64_t seed : visible.failed_seeds()) circles.back().push_back({.number = seed});
  for (const std::vector<Elite>& circle : circles) {
    std::map<std::string, std::vector<Elite>> suitable;
    std::vector<std::string> eligible;
    for (const std::string& proposer : options.proposers) {
      if (visible.is_set_aside(proposer)) continue;
      for (const Elite& elite : circle) {
        if (!visible.is_exhausted(proposer, elite.number) && suits(proposer, elite.number)) {
          suitable[proposer].push_back(elite);
        }
      }
      if (suitable.contains(proposer)) eligible.push_back(proposer);
    }
    if (eligible.empty()) continue;
    decision.proposer = visible.bandit().choose(eligible, state.in_flight(number),
                                                chance(options.seed, number, ChanceFor::kProposer));
    decision.parent = state.choose_parent(number, suitable[decision.proposer]);
    for (const std::vector<Elite>& lenders : {island.elites(), island.runners_up()}) {
      for (const Elite& elite : lenders) {
        if (elite.number == decision.parent || decision.others.size() == kMostOthers) continue;
        decision.others.push_back(elite.number);
      }
    }
    state.asked[number] = decision.proposer;
    return decision;
  }
  return std::nullopt;
}

int64_t Search::known_to(int64_t number) const { return state_->known_to(number); }

std::optional<int64_t> Search::best() const {
  if (!state_->known.best()) return std::nullopt;
  return state_->known.best()->number;
}

std::vector<int64_t> Search::elites(int island) const {
  std::vector<int64_t> numbers;
  for (const Elite& elite : state_->known.island(island).elites()) numbers.push_back(elite.number);
  return numbers;
}

std::vector<std::string> Search::set_aside() const {
  std::vector<std::string> names;
  for (const std::string& name : state_->options.proposers) {
    if (state_->known.is_set_aside(name)) names.push_back(name);
  }
  return names;
}

}  // namespace fib::agents
