#include "leaderboard/candidate_json.h"

#include <fmt/format.h>

#include <charconv>
#include <span>

#include "harness/verdict_json.h"

namespace fib {

namespace {

constexpr std::string_view kStates[] = {"running", "finished", "stopped"};
constexpr std::string_view kStages[] = {"proposed", "built",  "screened",
                                        "raced",    "judged", "confirmed"};
constexpr std::string_view kFates[] = {"refused", "duplicate", "failed", "slow", "measured"};

template <class Enum>
std::optional<Enum> enum_from_name(std::span<const std::string_view> names, std::string_view name) {
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return static_cast<Enum>(i);
  }
  return std::nullopt;
}

template <class Enum>
Result<Enum> read_enum(const JsonView& view, std::string_view key,
                       std::span<const std::string_view> names) {
  const JsonView member = FIB_TRY(view.at(key));
  const std::string name = FIB_TRY(member.string());
  const auto value = enum_from_name<Enum>(names, name);
  if (!value) return member.error(fmt::format("unknown value '{}'", name));
  return *value;
}

Result<std::string> read_string(const JsonView& view, std::string_view key) {
  return FIB_TRY(view.at(key)).string();
}
Result<int64_t> read_integer(const JsonView& view, std::string_view key) {
  return FIB_TRY(view.at(key)).integer();
}
Result<double> read_number(const JsonView& view, std::string_view key) {
  return FIB_TRY(view.at(key)).number();
}
Result<std::vector<int64_t>> read_integers(const JsonView& view, std::string_view key) {
  std::vector<int64_t> integers;
  for (const JsonView& item : FIB_TRY(FIB_TRY(view.at(key)).array())) {
    integers.push_back(FIB_TRY(item.integer()));
  }
  return integers;
}

Result<uint64_t> read_seed(const JsonView& view) {
  const JsonView member = FIB_TRY(view.at("seed"));
  const std::string text = FIB_TRY(member.string());
  uint64_t seed = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), seed);
  if (code != std::errc() || end != text.data() + text.size()) {
    return member.error(fmt::format("expected an integer of 64 bits in quotes, found '{}'", text));
  }
  return seed;
}

Json behaviour_to_json(const Behaviour& behaviour) {
  return {{"relative_error", number_to_json(behaviour.relative_error)},
          {"registers", behaviour.registers},
          {"shared_bytes", behaviour.shared_bytes},
          {"spilled_bytes", behaviour.spilled_bytes},
          {"code_bytes", behaviour.code_bytes},
          {"roofline_fraction", number_to_json(behaviour.roofline_fraction)},
          {"bound", behaviour.bound}};
}

Result<Behaviour> behaviour_from_json(const JsonView& view) {
  Behaviour behaviour;
  behaviour.relative_error = FIB_TRY(read_number(view, "relative_error"));
  behaviour.registers = FIB_TRY(read_integer(view, "registers"));
  behaviour.shared_bytes = FIB_TRY(read_integer(view, "shared_bytes"));
  behaviour.spilled_bytes = FIB_TRY(read_integer(view, "spilled_bytes"));
  behaviour.code_bytes = FIB_TRY(read_integer(view, "code_bytes"));
  behaviour.roofline_fraction = FIB_TRY(read_number(view, "roofline_fraction"));
  behaviour.bound = FIB_TRY(read_string(view, "bound"));
  return behaviour;
}

Json cost_to_json(const ProposalCost& cost) {
  return {{"seconds", number_to_json(cost.seconds)},
          {"prompt_tokens", cost.prompt_tokens},
          {"answer_tokens", cost.answer_tokens},
          {"money", number_to_json(cost.money)}};
}

Result<ProposalCost> cost_from_json(const JsonView& view) {
  ProposalCost cost;
  cost.seconds = FIB_TRY(read_number(view, "seconds"));
  cost.prompt_tokens = FIB_TRY(read_integer(view, "prompt_tokens"));
  cost.answer_tokens = FIB_TRY(read_integer(view, "answer_tokens"));
  cost.money = FIB_TRY(read_number(view, "money"));
  return cost;
}

}  // namespace

std::string_view run_state_name(RunState state) { return kStates[static_cast<size_t>(state)]; }
std::string_view candidate_stage_name(CandidateStage stage) {
  return kStages[static_cast<size_t>(stage)];
}
std::string_view candidate_fate_name(CandidateFate fate) {
  return kFates[static_cast<size_t>(fate)];
}

std::optional<RunState> run_state_from_name(std::string_view name) {
  return enum_from_name<RunState>(kStates, name);
}

Json candidate_to_json(const CandidateRecord& candidate) {
  return {
      {"run", candidate.run},
      {"number", candidate.number},
      {"island", candidate.island},
      {"proposer", candidate.proposer},
      {"parents", candidate.parents},
      {"seed", std::to_string(candidate.seed)},
      {"solution_key", candidate.solution_key},
      {"solution_name", candidate.solution_name},
      {"note", candidate.note},
      {"stage", candidate_stage_name(candidate.stage)},
      {"fate", candidate_fate_name(candidate.fate)},
      {"refusal", {{"reason", candidate.refusal.reason}, {"message", candidate.refusal.message}}},
      {"code_key", candidate.code_key},
      {"duplicate_of", candidate.duplicate_of ? Json(*candidate.duplicate_of) : Json()},
      {"speedup", number_to_json(candidate.speedup)},
      {"speedup_low", number_to_json(candidate.speedup_low)},
      {"speedup_high", number_to_json(candidate.speedup_high)},
      {"screen_speedup", number_to_json(candidate.screen_speedup)},
      {"is_confirmed", candidate.is_confirmed},
      {"judged_speedup", number_to_json(candidate.judged_speedup)},
      {"behaviour", behaviour_to_json(candidate.behaviour)},
      {"verdicts", candidate.verdicts},
      {"feedback", candidate.feedback},
      {"cost", cost_to_json(candidate.cost)},
      {"build_s", number_to_json(candidate.build_s)},
      {"device_s", number_to_json(candidate.device_s)},
      {"timestamp", candidate.timestamp}};
}

Result<CandidateRecord> candidate_from_json(const JsonView& view) {
  CandidateRecord candidate;
  candidate.run = FIB_TRY(read_integer(view, "run"));
  candidate.number = FIB_TRY(read_integer(view, "number"));
  candidate.island = static_cast<int>(FIB_TRY(read_integer(view, "island")));
  candidate.proposer = FIB_TRY(read_string(view, "proposer"));
  candidate.parents = FIB_TRY(read_integers(view, "parents"));
  candidate.seed = FIB_TRY(read_seed(view));
  candidate.solution_key = FIB_TRY(read_string(view, "solution_key"));
  candidate.solution_name = FIB_TRY(read_string(view, "solution_name"));
  candidate.note = FIB_TRY(read_string(view, "note"));
  candidate.stage = FIB_TRY(read_enum<CandidateStage>(view, "stage", kStages));
  candidate.fate = FIB_TRY(read_enum<CandidateFate>(view, "fate", kFates));
  const JsonView refusal = FIB_TRY(view.at("refusal"));
  candidate.refusal.reason = FIB_TRY(read_string(refusal, "reason"));
  candidate.refusal.message = FIB_TRY(read_string(refusal, "message"));
  candidate.code_key = FIB_TRY(read_string(view, "code_key"));
  if (const auto twin = view.find("duplicate_of"))
    candidate.duplicate_of = FIB_TRY(twin->integer());
  candidate.speedup = FIB_TRY(read_number(view, "speedup"));
  candidate.speedup_low = FIB_TRY(read_number(view, "speedup_low"));
  candidate.speedup_high = FIB_TRY(read_number(view, "speedup_high"));
  candidate.screen_speedup = FIB_TRY(read_number(view, "screen_speedup"));
  candidate.is_confirmed = FIB_TRY(FIB_TRY(view.at("is_confirmed")).boolean());
  candidate.judged_speedup = FIB_TRY(read_number(view, "judged_speedup"));
  candidate.behaviour = FIB_TRY(behaviour_from_json(FIB_TRY(view.at("behaviour"))));
  candidate.verdicts = FIB_TRY(read_integers(view, "verdicts"));
  if (const auto feedback = view.find("feedback")) candidate.feedback = feedback->json();
  candidate.cost = FIB_TRY(cost_from_json(FIB_TRY(view.at("cost"))));
  candidate.build_s = FIB_TRY(read_number(view, "build_s"));
  candidate.device_s = FIB_TRY(read_number(view, "device_s"));
  candidate.timestamp = FIB_TRY(read_string(view, "timestamp"));
  return candidate;
}

}  // namespace fib
