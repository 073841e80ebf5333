#pragma once

// Made-up pairs for the tests of selection.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "integrations/package/export/winners.h"
#include "signatures/catalog.h"

namespace fib::testing {

inline const Catalog& catalog() {
  static const Catalog catalog =
      Catalog::builtin(std::filesystem::path(FIB_SOURCE_DIR) / "signatures/definitions").value();
  return catalog;
}

inline SignaturePtr signature(std::string_view name) { return catalog().find(name).value(); }

struct SolutionSpec {
  std::string definition = "rmsnorm", author = "me", target = "cpu", license = "Apache-2.0";
  std::string source;  // its name, where there are no two versions
};

inline Solution make_solution(const std::string& name, const SolutionSpec& spec = {}) {
  return {.name = name,
          .definition = spec.definition,
          .author = spec.author,
          .language = SolutionLanguage::kCpp,
          .target_hardware = {spec.target},
          .entry_point = "solution.cpp::fib_run",
          .sources = {{"solution.cpp", "// " + (spec.source.empty() ? name : spec.source)},
                      {"plan.cpp", ""}},
          .fib = spec.target == "cpu"
                     ? Json{{"target", "cpu"}, {"entry", "solution.cpp"}, {"license", spec.license}}
                     : Json{{"target", "cuda"},
                            {"entry", "solution.cpp"},
                            {"plan", "plan.cpp"},
                            {"kernels", {"k"}},
                            {"license", spec.license}}};
}

enum class Win { kConfirmed, kUnconfirmed };

// The candidate over the incumbent, on a workload of this size.
struct PairSpec {
  std::string candidate, incumbent;
  int64_t size = 8;
  double speedup = 1.5, half_width = 0.02;
  Win win = Win::kConfirmed;
  double weight = 1.0;
  std::string workload;  // "w8" for size 8, if there is just one of a size
  std::string hardware = "CPU_A";
};

// A store's worth of them, on rmsnorm_h64 with its axis batch_size.
class Evidence {
 public:
  Evidence() {
    input_.signature = signature("rmsnorm_h64");
    input_.own_parameters = {1e-6};
    input_.house = {make_solution("rows", {.author = "fib"}),
                    make_solution("plain", {.author = "fib"})};
  }

  Evidence& solution(const Solution& solution) {
    input_.candidates.push_back(solution);
    return *this;
  }

  Evidence& pair(const PairSpec& spec) {
    const double low = spec.speedup - spec.half_width, high = spec.speedup + spec.half_width;
    PairedRecord record{
        .verdict_id = ++verdicts_,
        .candidate = spec.candidate,
        .candidate_key = key(spec.candidate),
        .incumbent = spec.incumbent,
        .incumbent_key = key(spec.incumbent),
        .signature = input_.signature->name,
        .workload = spec.workload.empty() ? fmt::format("w{}", spec.size) : spec.workload,
        .hardware = spec.hardware,
        .target = "cpu",
        .config_key = "config",
        .axes = {{"batch_size", spec.size}},
        .weight = spec.weight,
        .result = low > 1.01    ? PairedResult::kFaster
                  : high < 0.99 ? PairedResult::kSlower
                                : PairedResult::kAmbiguous,
        .speedup = spec.speedup,
        .speedup_low = low,
        .speedup_high = high,
        .timestamp = fmt::format("2026-11-22T10:{:02}:00+01:00", verdicts_)};
    record.is_confirmed = record.result == PairedResult::kFaster && spec.win == Win::kConfirmed;
    input_.records.push_back(std::move(record));
    return *this;
  }

  Evidence& failure(const std::string& name, int64_t size,
                    VerdictStatus status = VerdictStatus::kIncorrectNumerical) {
    input_.failures.push_back({.verdict_id = ++verdicts_,
                               .solution_key = key(name),
                               .workload = fmt::format("w{}", size),
                               .hardware = "CPU_A",
                               .axes = {{"batch_size", size}},
                               .status = status});
    return *this;
  }

  WinnerInput& input() { return input_; }

  Winners select(const WinnerOptions& options = {}) const {
    auto winners = select_winners(input_, options);
    if (!winners) throw std::runtime_error(winners.error().to_string());
    return *std::move(winners);
  }

  // "CPU_A: batch_size 5..8 -> mine; ..."; "" where the fallback serves everything.
  std::string choose(const WinnerOptions& options = {}) const {
    std::string text;
    const Winners winners = select(options);
    for (const HardwareChoices& hardware : winners.packaged.hardware) {
      for (const BucketChoice& bucket : hardware.buckets) {
        text += text.empty() ? "" : "; ";
        text += hardware.hardware + ":";
        for (const AxisInterval& interval : bucket.where) {
          text += fmt::format(" {} {}..{}", interval.axis, interval.low, interval.high);
        }
        text += " -> " + winners.packaged.solutions.at(bucket.solution).name;
      }
    }
    return text;
  }

  // The line about a solution in the first bucket.
  std::string reason(const std::string& name, const WinnerOptions& options = {}) const {
    for (const WinnerExplanation& explanation : select(options).explanations) {
      for (const std::string& line : explanation.reasons) {
        if (line.starts_with(name + ": ")) return line.substr(name.size() + 2);
      }
    }
    return "no line";
  }

  std::string key(const std::string& name) const {
    for (const auto* solutions : {&input_.candidates, &input_.house}) {
      for (const Solution& solution : *solutions) {
        if (solution.name == name) return solution_key(solution);
      }
    }
    throw std::logic_error("no solution '" + name + "' in this test");
  }

 private:
  WinnerInput input_;
  int64_t verdicts_ = 0;
};

}  // namespace fib::testing
