#include "integrations/cli/agent_budget.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <map>

#include "integrations/cli/text.h"

namespace fib {

namespace {

constexpr const char* kBudgetOption = "--budget";
constexpr const char* kBudgetRemedy =
    "candidates as 200, time as 90s, 30m or 2h, tokens as 500000tok or 2Mtok, money as 5usd";

enum class Kind { kCandidates, kTime, kTokens, kMoney };

constexpr struct {
  std::string_view name;
  Kind kind;
  double factor;
} kUnits[] = {{"", Kind::kCandidates, 1.0}, {"s", Kind::kTime, 1.0},
              {"m", Kind::kTime, 60.0},     {"min", Kind::kTime, 60.0},
              {"h", Kind::kTime, 3600.0},   {"tok", Kind::kTokens, 1.0},
              {"ktok", Kind::kTokens, 1e3}, {"Mtok", Kind::kTokens, 1e6},
              {"usd", Kind::kMoney, 1.0},   {"eur", Kind::kMoney, 1.0}};

constexpr struct {
  std::string_view text;
  Kind kind;
} kWithout[] = {{"no-candidates", Kind::kCandidates},
                {"no-time", Kind::kTime},
                {"no-tokens", Kind::kTokens},
                {"no-money", Kind::kMoney}};

struct Part {
  Kind kind = Kind::kCandidates;
  double amount = 0.0;  // in the kind's own unit; 0: none of this kind any more
  std::string text;     // as it was given
};
using Parts = std::map<Kind, Part>;

Failure refuse(const std::string& part, std::string_view why) {
  return fail(ErrorCode::kInvalidInput, fmt::format("'{}' {}", part, why), kBudgetOption,
              kBudgetRemedy);
}

Result<Part> read_part(const std::string& text) {
  for (const auto& without : kWithout) {
    if (text == without.text) return Part{without.kind, 0.0, text};
  }
  double number = 0.0;
  const auto [end, trouble] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (trouble != std::errc() || !std::isfinite(number) || number <= 0.0) {
    return refuse(text, "is no budget");
  }
  const std::string_view name(end, static_cast<size_t>(text.data() + text.size() - end));
  const auto unit = std::ranges::find(kUnits, name, [](const auto& it) { return it.name; });
  if (unit == std::end(kUnits)) return refuse(text, "has an unknown unit");
  const Part part{unit->kind, number * unit->factor, text};
  const bool is_counted = part.kind == Kind::kCandidates || part.kind == Kind::kTokens;
  if (is_counted && (part.amount != std::floor(part.amount) || part.amount > 1e15)) {
    return refuse(text, "is no whole number of them");
  }
  return part;
}

Result<Parts> read_parts(const std::vector<std::string>& texts) {
  Parts parts;
  for (const std::string& text : texts) {
    for (const std::string& word : split(text, ',')) {
      Part part = FIB_TRY(read_part(word));
      if (!parts.try_emplace(part.kind, std::move(part)).second) {
        return refuse(word, "is a second budget of its kind");
      }
    }
  }
  return parts;
}

}  // namespace

Result<agents::Amounts> parse_budget(const std::vector<std::string>& texts) {
  agents::Amounts budget;
  for (const auto& [kind, part] : FIB_TRY(read_parts(texts))) {
    if (part.amount == 0.0) return refuse(part.text, "is for runs that are resumed");
    switch (kind) {
      case Kind::kCandidates: budget.candidates = static_cast<int64_t>(part.amount); break;
      case Kind::kTime: budget.seconds = part.amount; break;
      case Kind::kTokens: budget.tokens = static_cast<int64_t>(part.amount); break;
      case Kind::kMoney: budget.money = part.amount; break;
    }
  }
  return budget;
}

Result<std::vector<std::string>> merge_budgets(const std::vector<std::string>& stored,
                                               const std::vector<std::string>& given) {
  Parts parts = FIB_TRY(read_parts(stored));
  for (const auto& [kind, part] : FIB_TRY(read_parts(given))) {
    parts.insert_or_assign(kind, part);
  }
  std::vector<std::string> merged;
  for (auto& [kind, part] : parts) {
    if (part.amount > 0.0) merged.push_back(std::move(part.text));
  }
  if (merged.empty()) {
    return fail(ErrorCode::kInvalidInput, "takes the last bound of the run away", kBudgetOption,
                "give another one in its place, for example 400 or 2h");
  }
  return merged;
}

Result<void> check_budget(const agents::Amounts& budget, const ProposerArgs& proposers) {
  const std::vector<std::string> names = proposers.names();
  const auto has = [&](std::string_view name) { return std::ranges::count(names, name) > 0; };
  if (budget.money > 0.0 && has("llm") && proposers.llm.price_in == 0.0 &&
      proposers.llm.price_out == 0.0) {
    return fail(ErrorCode::kInvalidInput, "the model has no price, so that its money isn't counted",
                kBudgetOption,
                "give --llm-price-in and --llm-price-out, of a million tokens each, or a budget in "
                "tokens (500000tok)");
  }
  const bool is_bound_otherwise = budget.candidates > 0 || budget.seconds > 0.0;
  if ((budget.money > 0.0 || budget.tokens > 0) && !is_bound_otherwise && !has("llm") &&
      !has("exec")) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("{} cost neither tokens nor money, so that the run wouldn't end",
                            fmt::join(names, ", ")),
                kBudgetOption, "give candidates or a time too, for example 200 or 2h");
  }
  return {};
}

std::string budget_in_words(const agents::Amounts& budget) {
  std::vector<std::string> parts;
  if (budget.candidates > 0) parts.push_back(counted(budget.candidates, "candidate"));
  if (budget.seconds >= 3600.0) {
    parts.push_back(fmt::format("{:.3g} h", budget.seconds / 3600.0));
  } else if (budget.seconds > 0.0) {
    parts.push_back(fmt::format("{:.3g} s", budget.seconds));
  }
  if (budget.tokens > 0) parts.push_back(counted(budget.tokens, "token"));
  if (budget.money > 0.0) parts.push_back(fmt::format("{:.2f} of money", budget.money));
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace fib
