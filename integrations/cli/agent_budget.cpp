#include "integrations/cli/agent_budget.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <cmath>

#include "integrations/cli/text.h"

namespace fib {

namespace {

constexpr const char* kBudgetOption = "--budget";
constexpr const char* kBudgetRemedy =
    "candidates as 200, time as 90s, 30m or 2h, tokens as 500000tok or 2Mtok, money as 5usd";

Failure refuse(const std::string& part, std::string_view why) {
  return fail(ErrorCode::kInvalidInput, fmt::format("'{}' {}", part, why), kBudgetOption, kBudgetRemedy);
}

Result<void> set_once(double& of, double value, const std::string& part) {
  if (of != 0.0) return refuse(part, "is a second budget of its kind");
  of = value;
  return {};
}

}  // namespace

Result<agents::Amounts> parse_budget(const std::vector<std::string>& texts) {
  double candidates = 0.0, seconds = 0.0, tokens = 0.0, money = 0.0;
  for (const std::string& text : texts) {
    for (const std::string& part : split(text, ',')) {
      double number = 0.0;
      const auto [end, trouble] = std::from_chars(part.data(), part.data() + part.size(), number);
      const std::string unit(end, part.data() + part.size());
      if (trouble != std::errc() || !std::isfinite(number) || number <= 0.0) {
        return refuse(part, "is no budget");
      }
      const struct {
        std::string_view unit;
        double& of;
        double factor;
      } kUnits[] = {{"", candidates, 1.0},  {"s", seconds, 1.0},    {"m", seconds, 60.0},
                    {"min", seconds, 60.0}, {"h", seconds, 3600.0}, {"tok", tokens, 1.0},
                    {"ktok", tokens, 1e3},  {"Mtok", tokens, 1e6},  {"usd", money, 1.0},
                    {"eur", money, 1.0}};
      bool is_known = false;
      for (const auto& [name, of, factor] : kUnits) {
        if (unit != name) continue;
        FIB_CHECK(set_once(of, number * factor, part));
        is_known = true;
      }
      if (!is_known) return refuse(part, "has an unknown unit");
    }
  }
  for (const double count : {candidates, tokens}) {
    if (count != std::floor(count) || count > 1e15) {
      return refuse(fmt::format("{}", count), "is no whole number of them");
    }
  }
  return agents::Amounts{.candidates = static_cast<int64_t>(candidates),
                         .seconds = seconds,
                         .tokens = static_cast<int64_t>(tokens),
                         .money = money};
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
