#include "agents/proposers/tune/trials.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace fib::agents {

namespace {

constexpr double kIntervalDeviations = 2 * 1.96;  // a 95 % interval in standard deviations
constexpr double kScreeningNoise = 0.1;           // one small workload speaks for all of them

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

// The outcome without its point. Nothing to learn from a candidate that was never tried.
std::optional<Trial> outcome_of(const CandidateRecord& record) {
  switch (record.fate) {
    case CandidateFate::kMeasured:
      if (!(record.speedup > 0.0)) return std::nullopt;
      return Trial{.log_speedup = std::log(record.speedup), .noise = noise_of(record)};
    case CandidateFate::kSlow:
      if (record.was_beaten()) {
        return Trial{.log_speedup = std::log(record.speedup), .noise = noise_of(record)};
      }
      if (!(record.screen_speedup > 0.0)) return Trial{};  // too slow to be timed
      return Trial{.log_speedup = std::log(record.screen_speedup), .noise = kScreeningNoise};
    case CandidateFate::kFailed: return Trial{};
    case CandidateFate::kRefused:
    case CandidateFate::kDuplicate: break;
  }
  return std::nullopt;
}

}  // namespace

std::string note_of(const DesignSpace& space, const Configuration& from, const Configuration& to) {
  std::string note;
  for (size_t i = 0; i < to.size(); ++i) {
    if (i > 0) note += ", ";
    note += space.tunables[i].name + " ";
    if (from[i] != to[i]) note += fmt::format("{} -> ", from[i]);
    note += std::to_string(to[i]);
  }
  return note;
}

std::optional<Configuration> configuration_in_note(const DesignSpace& space,
                                                   std::string_view note) {
  Configuration configuration;
  for (const Tunable& tunable : space.tunables) {
    const std::string_view part = note.substr(0, note.find(", "));
    if (!part.starts_with(tunable.name + " ")) return std::nullopt;
    const auto value = whole_number(part.substr(part.rfind(' ') + 1));
    if (!value) return std::nullopt;
    configuration.push_back(*value);
    note.remove_prefix(std::min(part.size() + 2, note.size()));
  }
  if (!note.empty()) return std::nullopt;
  return configuration;
}

bool is_set_otherwise(const Solution& solution, const Solution& parent, const DesignSpace& space) {
  const auto common = configuration_of(parent, space);
  if (!common) return false;
  const auto ours = with_configuration(parent, space, *common);
  const auto other = with_configuration(solution, space, *common);
  return ours && other && solution_key(*ours) == solution_key(*other);
}

double noise_of(const CandidateRecord& record) {
  if (!(record.speedup_low > 0.0) || record.speedup_high <= record.speedup_low) return 0.0;
  return std::log(record.speedup_high / record.speedup_low) / kIntervalDeviations;
}

KnownTrials::KnownTrials(const ProposalRequest& request, const DesignSpace& space) {
  const auto remember = [&](const CandidateRecord& record) {
    by_number_.emplace(record.number, &record);
    if (!record.solution_key.empty()) by_key_.emplace(record.solution_key, &record);
  };
  if (request.history) {
    for (const CandidateRecord& record : *request.history) remember(record);
  }
  remember(request.parent.record);
  for (const Ancestor& other : request.others) remember(other.record);

  const Solution& parent = request.parent.solution;
  const auto learn_configuration = [&](const Configuration& configuration,
                                       const CandidateRecord& record) {
    if (const auto point = point_of(space, configuration)) learn(*point, record);
  };
  if (const auto own = configuration_of(parent, space)) {
    learn_configuration(*own, request.parent.record);
    for (const Ancestor& other : request.others) {
      const auto configuration = configuration_of(other.solution, space);
      if (configuration && is_set_otherwise(other.solution, parent, space)) {
        learn_configuration(*configuration, other.record);
      }
    }
  }
  if (!request.history) return;
  for (const CandidateRecord& record : *request.history) {
    const auto configuration = configuration_in_note(space, record.note);
    if (!configuration) continue;
    const auto solution = with_configuration(parent, space, *configuration);
    if (solution && solution_key(*solution) == record.solution_key) {
      learn_configuration(*configuration, record);
    }
  }
}

bool KnownTrials::learn_if_known(const Point& point, const std::string& solution_key) {
  const auto known = by_key_.find(solution_key);
  if (known == by_key_.end()) return false;
  learn(point, *known->second);
  return true;
}

// A duplicate is as fast as the one whose code it has.
const CandidateRecord& KnownTrials::measured(const CandidateRecord& record) const {
  if (!record.duplicate_of) return record;
  const auto original = by_number_.find(*record.duplicate_of);
  return original == by_number_.end() ? record : *original->second;
}

void KnownTrials::learn(const Point& point, const CandidateRecord& record) {
  if (!taken_.insert(point).second) return;
  auto trial = outcome_of(measured(record));
  if (!trial) return;
  trial->point = point;
  trials_.push_back(*std::move(trial));
}

}  // namespace fib::agents
