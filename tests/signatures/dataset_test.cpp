// The public datasets, where they are at hand: everything reads, binds and is written back equal
// in meaning.

#include <gtest/gtest.h>

#include <algorithm>

#include "signatures/catalog.h"
#include "signatures/problem.h"
#include "tests/signatures/helpers.h"

namespace fib {
namespace {

class Dataset : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::is_directory(root())) {
      GTEST_SKIP() << "no public dataset at " << root();
    }
  }
  static std::filesystem::path root() {
    return source_folder() / "../shared/data/flashinfer-trace";
  }
  static std::vector<std::filesystem::path> files(std::string_view suffix,
                                                  const std::string& folder = ".") {
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root() / folder)) {
      const std::string name = entry.path().string();
      if (entry.is_regular_file() && name.ends_with(suffix)) found.push_back(entry.path());
    }
    std::sort(found.begin(), found.end());
    return found;
  }
};

// Keys in any order: what a reader that knows no order sees.
nlohmann::json unordered(const Json& json) { return nlohmann::json::parse(json.dump()); }

// The normalisations of docs/formats.md.
nlohmann::json normalised_definition(const Json& original) {
  nlohmann::json json = unordered(original);
  if (json.contains("type")) {
    json["op_type"] = json["type"];
    json.erase("type");
  }
  return json;
}

nlohmann::json normalised_trace(const Json& original, const std::string& id) {
  nlohmann::json json = unordered(original);
  json["workload"]["uuid"] = id;
  if (!json.contains("solution") || json["solution"] == "") json["solution"] = nullptr;
  nlohmann::json& evaluation = json["evaluation"];
  if (evaluation.empty()) evaluation = nullptr;
  if (evaluation.is_null()) return json;
  nlohmann::json& environment = evaluation["environment"];
  if (environment.contains("device")) {
    environment["hardware"] = environment["device"];
    environment.erase("device");
  }
  if (!evaluation.contains("log")) evaluation["log"] = "";
  for (const char* key : {"correctness", "performance"}) {
    if (!evaluation.contains(key)) evaluation[key] = nullptr;
  }
  if (!evaluation["correctness"].is_null() && !evaluation["correctness"].contains("extra")) {
    evaluation["correctness"]["extra"] = nullptr;
  }
  return json;
}

TEST_F(Dataset, EveryDefinitionReadsAndIsWrittenBack) {
  size_t count = 0;
  for (const auto& file : files(".json")) {
    const auto signature = read_signature(file, Strictness::kTolerant);
    ASSERT_TRUE(signature) << signature.error().to_string();
    EXPECT_FALSE(signature->has_fib_key);
    EXPECT_EQ(unordered(signature_to_json(*signature)), normalised_definition(signature->original))
        << file;
    // What fib infers is itself a correct extension.
    Json extended = signature_to_json(*signature);
    extended["fib"] = extension_to_json(signature->fib);
    const auto again = signature_from_json(extended, file.string(), Strictness::kTolerant);
    ASSERT_TRUE(again) << again.error().to_string();
    EXPECT_EQ(extension_to_json(again->fib), extended["fib"]);
    ++count;
  }
  EXPECT_EQ(count, 163u);
}

TEST_F(Dataset, EveryTraceReadsAndIsWrittenBack) {
  size_t count = 0;
  auto all = files(".jsonl");
  const auto packed = files(".jsonl.gz");
  EXPECT_FALSE(packed.empty());
  all.insert(all.end(), packed.begin(), packed.end());
  for (const auto& file : all) {
    const auto traces = read_traces(file, Strictness::kTolerant);
    ASSERT_TRUE(traces) << traces.error().to_string();
    for (const Trace& trace : *traces) {
      ASSERT_EQ(unordered(trace_to_json(trace)),
                normalised_trace(trace.original, workload_id(trace.workload)))
          << trace.workload.where;
      // Read again, the written line means the same to the letter.
      const auto again =
          trace_from_json(trace_to_json(trace), trace.workload.where, Strictness::kTolerant);
      ASSERT_TRUE(again) << again.error().to_string();
      ASSERT_EQ(dump_json(trace_to_json(*again)), dump_json(trace_to_json(trace)));
      ++count;
    }
  }
  EXPECT_GT(count, 2200u);
}

TEST_F(Dataset, EveryWorkloadBindsToItsDefinition) {
  size_t bound = 0, contradictory = 0;
  const std::pair<std::string, std::vector<std::string>> datasets[] = {
      {"main", {"main", "2026-03-results"}}, {"2025-08-early", {"2025-08-early"}}};
  for (const auto& [definitions, folders] : datasets) {
    auto catalog = Catalog::builtin(definitions_folder());
    ASSERT_TRUE(catalog) << catalog.error().to_string();
    const auto added = catalog->add_dataset(root() / definitions);
    ASSERT_TRUE(added) << added.error().to_string();
    for (const std::string& folder : folders) {
      for (const auto& file : files(".jsonl", folder)) {
        const auto traces = read_traces(file, Strictness::kTolerant);
        ASSERT_TRUE(traces) << traces.error().to_string();
        for (const Trace& trace : *traces) {
          const auto signature = catalog->find(trace.definition);
          // Some rows come without their definition; some results of 2025 use axes of an even
          // older one.
          if (!signature || trace.workload.axis("B_plus_1")) continue;
          const auto problem = fib::bind(*signature, trace.workload);
          if (problem) {
            ++bound;
            continue;
          }
          if (trace.definition == "batch_gqa_ragged_prefill_h32_kv8_d128") {
            expect_error(problem, {"/workload/inputs/num_qo_heads", "no input 'num_qo_heads'"});
            ++contradictory;
            continue;
          }
          // 59 real rows break a constraint of their own definition: nobody evaluated it before.
          expect_error(problem, {"dsa_topk_indexer", "'topk <= max_num_pages * page_size' is false"});
          ++contradictory;
        }
      }
    }
  }
  EXPECT_GT(bound, 1000u);
  EXPECT_EQ(contradictory, 59u + 4u);
}

TEST_F(Dataset, OurFamiliesCoverItsNames) {
  const auto catalog = Catalog::builtin(definitions_folder());
  ASSERT_TRUE(catalog);
  size_t covered = 0;
  for (const auto& file : files(".json")) {
    const auto theirs = read_signature(file, Strictness::kTolerant);
    ASSERT_TRUE(theirs);
    const bool is_family = theirs->op_type == "rmsnorm" || theirs->op_type == "gemm" ||
                           theirs->name.starts_with("gqa_");
    if (!is_family || theirs->name.starts_with("gemm_n_")) continue;
    // Six prefill definitions say [len_indptr] of kv_last_page_len, the others [batch_size].
    if (theirs->name.starts_with("gqa_paged_prefill") && theirs->name.ends_with("_ps64") &&
        theirs->find_axis("batch_size") == nullptr) {
      continue;
    }
    const auto ours = catalog->find(theirs->name);
    ASSERT_TRUE(ours) << ours.error().to_string();
    const auto all = catalog->all();
    EXPECT_TRUE(std::any_of(all.begin(), all.end(),
                            [&](const SignaturePtr& s) { return s->name == theirs->name; }))
        << theirs->name << " is not listed";
    EXPECT_EQ((*ours)->parameter("eps", 0), theirs->parameter("eps", 0)) << theirs->name;
    EXPECT_EQ((*ours)->fib.reference, theirs->fib.reference) << theirs->name;
    EXPECT_EQ((*ours)->fib.weights, theirs->fib.weights) << theirs->name;
    EXPECT_EQ((*ours)->fib.host_visible, theirs->fib.host_visible) << theirs->name;
    ++covered;
  }
  EXPECT_EQ(covered, 15u + 32u + 17u + 14u + 9u);
}

}  // namespace
}  // namespace fib
