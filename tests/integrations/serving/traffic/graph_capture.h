#pragma once

// The bundled model decoding kernel by kernel and through graphs, under a capture.

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>

#include "integrations/serving/traffic/capture.h"
#include "signatures/catalog.h"
#include "tests/integrations/serving/model/served_model.h"
#include "workloads/inputs.h"
#include "workloads/workload_set.h"

namespace fib {

// Prefills so many sequences in one step and decodes them together, fed with tokens of the test's
// own, so that what the device computes has no say in what is captured.
inline Result<void> serve_together(ModelExecutor& executor, int sequences, int decode_steps) {
  const int page_size = executor.limits().page_size;
  std::vector<std::vector<TokenId>> tokens;
  std::vector<std::vector<int32_t>> pages;
  const auto segment = [&](size_t i, int first) {
    const auto length = tokens[i].size();
    return StepSegment{
        .sequence = i,
        .tokens = std::span(tokens[i]).subspan(static_cast<size_t>(first)),
        .first_position = first,
        .pages = std::span(pages[i]).first((length + static_cast<size_t>(page_size) - 1) /
                                           static_cast<size_t>(page_size)),
        .wants_token = true};
  };
  Step prefill{.prefill_layers = {0, executor.limits().num_layers}};
  for (int i = 0; i < sequences; ++i) {
    tokens.emplace_back(static_cast<size_t>(10 + 27 * i), 5 + i);
    pages.emplace_back();
    for (int page = 0; page < 8; ++page) pages.back().push_back(3 + page * sequences + i);
  }
  for (size_t i = 0; i < tokens.size(); ++i) prefill.prefill.push_back(segment(i, 0));
  prefill.choices.assign(tokens.size(), {.temperature = 0.0f});
  FIB_TRY(executor.run(prefill));
  for (int step = 0; step < decode_steps; ++step) {
    Step decode;
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens[i].push_back(100 + step);
      decode.decode.push_back(segment(i, static_cast<int>(tokens[i].size()) - 1));
    }
    decode.choices.assign(tokens.size(), {.temperature = 0.0f, .uniform = 0.5f});
    FIB_TRY(executor.run(decode));
  }
  return {};
}

// Weights of the captured rows by signature and id, which follows from axes and integers. The
// experts that a router chose hang on the arithmetic, so that those rows go by their axes alone.
using CapturedRows = std::map<std::string, std::map<std::string, double>>;

struct Captured {
  CapturedRows rows;
  std::vector<Workload> decode;  // rows of decode attention
};

// Every row has all its integers and can be judged.
inline Captured expect_captured(ServedModelUnderTest& model, const std::filesystem::path& folder,
                                int sequences, int decode_steps) {
  Captured captured;
  const auto capture = Capture::start(
      *model.dispatch, {.folder = folder, .group = CaptureGroup::kCall, .max_rows = 4096});
  const auto served = serve_together(*model.executor, sequences, decode_steps);
  const auto summary = capture ? (*capture)->write() : Result<CaptureSummary>();
  const auto sets = read_workloads(folder);
  const auto catalog = Catalog::builtin(house_options().definitions);
  EXPECT_TRUE(served) << served.error().to_string();
  EXPECT_TRUE(summary) << summary.error().to_string();
  EXPECT_TRUE(sets) << sets.error().to_string();
  if (!served || !sets) return captured;
  for (const WorkloadSet& set : *sets) {
    for (const Workload& workload : set.workloads) {
      SCOPED_TRACE(set.signature + " " + workload.uuid);
      const bool has_experts = set.signature.starts_with("moe_int4");
      const std::string id =
          has_experts ? std::to_string(*workload.axis("num_tokens")) : workload.uuid;
      captured.rows[set.signature][id] += workload.weight;
      if (set.signature.starts_with("gqa_paged_decode")) captured.decode.push_back(workload);
      const Json missing = workload.original.at("fib").value("missing", Json::object());
      EXPECT_TRUE(missing.empty()) << missing.dump();
      const auto problem = bind(*catalog->find(set.signature), workload);
      EXPECT_TRUE(problem) << problem.error().to_string();
      const auto plan = plan_inputs(*problem);
      EXPECT_TRUE(plan) << plan.error().to_string();
      if (plan) {
        EXPECT_TRUE(plan->notes.empty()) << plan->notes.front();
      }
    }
  }
  return captured;
}

}  // namespace fib
