#pragma once

// Made-up verdicts for the store's tests.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>

#include "leaderboard/store.h"
#include "tests/scratch_folder.h"

namespace fib::testing {

// Equal sources are one solution to the store, whatever their names: by default they differ.
inline Solution make_solution(std::string_view name, std::string_view author = "fib",
                              std::string_view source = {}) {
  Solution solution;
  solution.name = name;
  solution.author = author;
  solution.definition = "rmsnorm";
  solution.language = SolutionLanguage::kCpp;
  solution.target_hardware = {"cpu"};
  solution.entry_point = "solution.cpp::run";
  solution.sources = {
      {"solution.cpp", source.empty() ? fmt::format("// {}\n", name) : std::string(source)}};
  return solution;
}

inline Workload make_workload(std::string_view uuid, double weight = 1.0) {
  Workload workload;
  workload.uuid = uuid;
  workload.axes = {{"batch_size", 7}};
  workload.weight = weight;
  return workload;
}

struct VerdictSpec {
  std::string solution = "rows", author = "fib", signature = "rmsnorm_h4096", workload = "w1";
  std::string hardware = "TEST_CPU", config = "config-a";
  double cold_ns = 1000.0, relative_half_width = 0.01, weight = 1.0;
  VerdictStatus status = VerdictStatus::kPassed;
};

inline Verdict make_verdict(const VerdictSpec& spec) {
  Verdict verdict;
  verdict.solution = spec.solution;
  verdict.solution_key = solution_key(make_solution(spec.solution, spec.author));
  verdict.signature = spec.signature;
  verdict.workload = spec.workload;
  verdict.axes = Json{{"batch_size", 7}};
  verdict.workload_weight = spec.weight;
  verdict.device = {.target = "cpu", .name = "Test CPU", .key = spec.hardware};
  verdict.config_key = spec.config;
  verdict.status = spec.status;
  verdict.timestamp = "2026-01-02T03:04:05";
  if (spec.status != VerdictStatus::kPassed) {
    verdict.reason = "precision";
    return verdict;
  }
  const double half_width = spec.cold_ns * spec.relative_half_width;
  verdict.timings = {{TimingMode::kCold,
                      Clock::kHost,
                      {spec.cold_ns, spec.cold_ns - half_width, spec.cold_ns + half_width},
                      2,
                      false}};
  verdict.samples = {{TimingMode::kCold,
                      Clock::kHost,
                      {{.time_ns = spec.cold_ns, .value_set = 1, .round = 2, .calls = 3},
                       {.time_ns = 0.1, .sm_clock_mhz = 1980, .throttle_reasons = 4}}}};
  verdict.roofline.fraction = 0.5;
  return verdict;
}

inline Result<int64_t> add(Store& store, const VerdictSpec& spec) {
  return store.add(make_verdict(spec), make_solution(spec.solution, spec.author),
                   make_workload(spec.workload, spec.weight));
}

inline std::unique_ptr<Store> open_store(const std::filesystem::path& file) {
  auto store = Store::open(file);
  if (!store) {
    ADD_FAILURE() << store.error().to_string();
    return nullptr;
  }
  return *std::move(store);
}

}  // namespace fib::testing
