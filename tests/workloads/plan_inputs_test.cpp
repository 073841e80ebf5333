#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <numeric>
#include <set>

#include "signatures/base/safetensors.h"
#include "signatures/family.h"
#include "signatures/catalog.h"
#include "tests/scratch_folder.h"
#include "tests/workloads/inputs_fixture.h"
#include "workloads/workload_set.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

SignaturePtr decode_signature() {
  return make_signature(R"json({
    "name": "decode", "op_type": "gqa_paged",
    "axes": {"batch_size": {"type": "var"}, "num_pages": {"type": "var"},
             "len_indptr": {"type": "var"}, "num_kv_indices": {"type": "var"},
             "num_qo_heads": {"type": "const", "value": 2},
             "num_kv_heads": {"type": "const", "value": 1},
             "head_dim": {"type": "const", "value": 8},
             "page_size": {"type": "const", "value": 4}},
    "constraints": ["len_indptr == batch_size + 1", "num_kv_indices == kv_indptr[-1].item()"],
    "inputs": {
      "q": {"shape": ["batch_size", "num_qo_heads", "head_dim"], "dtype": "bfloat16"},
      "k_cache": {"shape": ["num_pages", "page_size", "num_kv_heads", "head_dim"],
                  "dtype": "bfloat16"},
      "v_cache": {"shape": ["num_pages", "page_size", "num_kv_heads", "head_dim"],
                  "dtype": "bfloat16"},
      "kv_indptr": {"shape": ["len_indptr"], "dtype": "int32"},
      "kv_indices": {"shape": ["num_kv_indices"], "dtype": "int32"},
      "kv_last_page_len": {"shape": ["batch_size"], "dtype": "int32"},
      "sm_scale": {"shape": null, "dtype": "float32"}},
    "outputs": {
      "output": {"shape": ["batch_size", "num_qo_heads", "head_dim"], "dtype": "bfloat16"},
      "lse": {"shape": ["batch_size", "num_qo_heads"], "dtype": "float32"}},
    "reference": "def run(q): pass"})json");
}

constexpr std::string_view kRow = R"json({"uuid": "row-1",
  "axes": {"batch_size": 3, "num_pages": 9, "len_indptr": 4, "num_kv_indices": 7},
  "inputs": {"kv_indptr": {"type": "safetensors", "path": "./blob/x.safetensors",
                           "tensor_key": "kv_indptr"},
             "kv_indices": {"type": "safetensors", "path": "blob/x.safetensors",
                            "tensor_key": "kv_indices"},
             "sm_scale": {"type": "scalar", "value": 0.125}}})json";

// A dataset folder with one blob of int32 tensors.
class Dataset {
 public:
  void write(const std::vector<std::pair<std::string, std::vector<int32_t>>>& tensors) {
    std::vector<StoredTensor> stored;
    for (const auto& [name, values] : tensors) {
      stored.push_back({name,
                        DType::kInt32,
                        {static_cast<int64_t>(values.size())},
                        std::as_bytes(std::span(values))});
    }
    fs::create_directories(folder_ / "blob");
    ASSERT_TRUE(write_safetensors(blob(), stored));
  }
  void write_text(std::string_view text) {
    fs::create_directories(folder_ / "blob");
    std::ofstream(blob()) << text;
  }
  fs::path blob() const { return folder_.path() / "blob" / "x.safetensors"; }
  fs::path root() const { return folder_.path(); }
  Result<InputPlan> plan() const {
    return plan_inputs(make_problem(decode_signature(), kRow, root()));
  }

 private:
  ScratchFolder folder_;
};

template <class T>
void expect_error(const Result<T>& result, std::initializer_list<std::string_view> parts) {
  ASSERT_FALSE(result);
  const std::string text = result.error().to_string();
  for (const std::string_view part : parts) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " is not in: " << text;
  }
}

bool has_note(const InputPlan& plan, std::string_view part) {
  return std::any_of(plan.notes.begin(), plan.notes.end(),
                     [&](const std::string& note) { return note.find(part) != std::string::npos; });
}

TEST(PlanInputs, LoadsBlobs) {
  Dataset dataset;
  dataset.write({{"kv_indptr", {0, 2, 2, 7}}, {"kv_indices", {8, 0, 1, 2, 3, 4, 5}}});
  const Result<InputPlan> plan = dataset.plan();
  ASSERT_TRUE(plan) << plan.error().to_string();
  EXPECT_EQ(integers_of(*plan, "kv_indptr"), (std::vector<int64_t>{0, 2, 2, 7}));
  EXPECT_EQ(integers_of(*plan, "kv_indices"), (std::vector<int64_t>{8, 0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(plan->problem.axes.at("num_pages"), 9);
  // The last-page lengths were not listed: made, without a note about a blob.
  EXPECT_EQ(integers_of(*plan, "kv_last_page_len")[1], 4) << "an empty request";
  EXPECT_TRUE(plan->notes.empty()) << plan->notes.front();
}

TEST(PlanInputs, MissingBlobsAreSynthesisedAndSaidToBe) {
  Dataset dataset;
  for (const bool is_pointer : {false, true}) {
    if (is_pointer) {
      dataset.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n");
    }
    const Result<InputPlan> plan = dataset.plan();
    ASSERT_TRUE(plan) << plan.error().to_string();
    EXPECT_TRUE(has_note(*plan, "kv_indptr: blob ./blob/x.safetensors not found, synthesised"));
    const std::vector<int64_t> offsets = integers_of(*plan, "kv_indptr");
    EXPECT_EQ(offsets.front(), 0);
    EXPECT_EQ(offsets.back(), 7);
    EXPECT_TRUE(std::is_sorted(offsets.begin(), offsets.end()));
  }
}

TEST(PlanInputs, DamagedBlobsAreErrors) {
  Dataset dataset;
  dataset.write_text("not a safetensors file");
  expect_error(dataset.plan(), {"x.safetensors"});
  dataset.write({{"kv_indptr", {0, 2, 2, 7}}});
  expect_error(dataset.plan(), {"x.safetensors", "kv_indices"});
  dataset.write({{"kv_indptr", {0, 2, 7}}, {"kv_indices", {0, 1, 2, 3, 4, 5, 6}}});
  expect_error(dataset.plan(), {"rows.jsonl:7", "kv_indptr", "shape [3]", "[4]"});
}

TEST(PlanInputs, AWrongDTypeIsAnError) {
  Dataset dataset;
  const std::vector<int64_t> values = {0, 2, 2, 7};
  fs::create_directories(dataset.root() / "blob");
  ASSERT_TRUE(write_safetensors(
      dataset.blob(), {{"kv_indptr", DType::kInt64, {4}, std::as_bytes(std::span(values))}}));
  expect_error(dataset.plan(), {"kv_indptr", "int64", "int32"});
}

TEST(PlanInputs, IndicesOutOfRangeNameTensorPositionAndValue) {
  Dataset dataset;
  const auto with = [&](std::vector<int32_t> indptr, std::vector<int32_t> indices) {
    dataset.write({{"kv_indptr", std::move(indptr)}, {"kv_indices", std::move(indices)}});
    return dataset.plan();
  };
  expect_error(with({0, 2, 2, 7}, {0, 1, 2, 10, 4, 5, 6}), {"kv_indices[3] is 10", "0..8"});
  expect_error(with({0, 2, 2, 7}, {1, 1, 2, 3, 4, 5, 10}), {"kv_indices[6] is 10", "0..8"});
  expect_error(with({0, 2, 2, 7}, {0, 1, -1, 3, 4, 5, 6}), {"kv_indices[2] is -1"});
  expect_error(with({0, 2, 2, 7}, {0, 1, 2, 3, 9, 5, 6}), {"kv_indices[4] is 9"});
  expect_error(with({1, 2, 2, 7}, {0, 1, 2, 3, 4, 5, 6}), {"kv_indptr[0] is 1", "start at 0"});
  expect_error(with({0, 3, 2, 7}, {0, 1, 2, 3, 4, 5, 6}), {"kv_indptr[2] is 2", "less than 3"});
  expect_error(with({0, 2, 2, 6}, {0, 1, 2, 3, 4, 5, 6}),
               {"kv_indptr[3] is 6", "num_kv_indices is 7", "rows.jsonl:7"});
}

// A row of rope_append, whose positions may repeat and whose slots may not.
Result<InputPlan> rope_plan(int64_t max_positions, Dataset& dataset,
                            const std::vector<std::string>& given) {
  auto signature = instantiate_by_name(
      fs::path(FIB_SOURCE_DIR) / "signatures/definitions/rope/rope_append.json",
      "rope_append_h2_kv1_d4_ps4");
  EXPECT_TRUE(signature) << signature.error().to_string();
  std::string inputs;
  for (const std::string& name : given) {
    if (!inputs.empty()) inputs += ", ";
    inputs += "\"" + name + R"(": {"type": "safetensors", "path": "blob/x.safetensors",)" +
              R"("tensor_key": ")" + name + "\"}";
  }
  return plan_inputs(make_problem(
      std::make_shared<const Signature>(*std::move(signature)),
      R"({"uuid": "u", "axes": {"num_tokens": 3, "num_pages": 2, "max_positions": )" +
          std::to_string(max_positions) + R"(}, "inputs": {)" + inputs + "}}",
      dataset.root()));
}

TEST(PlanInputs, PositionsMayRepeatAndSlotsMayNot) {
  Dataset dataset;
  dataset.write({{"positions", {5, 5, 0}}, {"slots", {7, 0, 3}}});
  const auto plan = rope_plan(6, dataset, {"positions", "slots"});
  ASSERT_TRUE(plan) << plan.error().to_string();
  EXPECT_EQ(integers_of(*plan, "positions"), (std::vector<int64_t>{5, 5, 0}));
  expect_error(rope_plan(5, dataset, {"positions", "slots"}), {"positions[0] is 5", "0..4"});
  dataset.write({{"slots", {7, 3, 3}}});
  expect_error(rope_plan(6, dataset, {"slots"}), {"slots[2] is 3", "a second time"});
  dataset.write({{"slots", {7, 3, 8}}});
  expect_error(rope_plan(6, dataset, {"slots"}), {"slots[2] is 8", "0..7"});
}

TEST(PlanInputs, PositionsAreMadeBelowTheirLimit) {
  Dataset dataset;
  const auto plan = rope_plan(2, dataset, {});
  ASSERT_TRUE(plan) << plan.error().to_string();
  for (const int64_t position : integers_of(*plan, "positions")) {
    EXPECT_GE(position, 0);
    EXPECT_LT(position, 2);
  }
  expect_error(rope_plan(0, dataset, {}), {"positions", "below 0 (max_positions)"});
}

TEST(PlanInputs, PagesNumberedFromOneWidenTheCache) {
  Dataset dataset;
  dataset.write({{"kv_indptr", {0, 2, 2, 7}}, {"kv_indices", {9, 1, 2, 3, 4, 5, 6}}});
  const Result<InputPlan> plan = dataset.plan();
  ASSERT_TRUE(plan) << plan.error().to_string();
  EXPECT_EQ(plan->problem.axes.at("num_pages"), 10);
  EXPECT_EQ(plan->problem.inputs[1].shape[0], 10);
  EXPECT_EQ(plan->structure[2].desc.shape[0], 10);
  EXPECT_TRUE(has_note(*plan, "num_pages raised from 9 to 10"));
}

TEST(PlanInputs, AxesTooSmallForTheirPagesGrow) {
  const Result<InputPlan> plan = plan_inputs(make_problem(decode_signature(), R"json({
    "uuid": "none", "axes": {"batch_size": 2, "num_pages": 0, "len_indptr": 3,
    "num_kv_indices": 5}, "inputs": {}})json"));
  ASSERT_TRUE(plan) << plan.error().to_string();
  EXPECT_EQ(plan->problem.axes.at("num_pages"), 5);
  EXPECT_TRUE(has_note(*plan, "num_pages raised from 0 to 5"));
}

TEST(PlanInputs, TheStructureIsTheWorkloadsOwn) {
  const auto table = [](std::string_view row, uint64_t seed) {
    return integers_of(*plan_inputs(make_problem(decode_signature(), row), seed), "kv_indices");
  };
  const std::string other = [] {
    std::string text(kRow);
    return text.replace(text.find("row-1"), 5, "row-2");
  }();
  EXPECT_EQ(table(kRow, 0), table(kRow, 0));
  EXPECT_EQ(table(kRow, 5), table(other, 5));
  EXPECT_NE(table(kRow, 0), table(other, 0));
}

TEST(PlanInputs, ASeedChangesValuesAndNotStructure) {
  const Result<InputPlan> plan = plan_inputs(make_problem(decode_signature(), kRow));
  ASSERT_TRUE(plan);
  const InputSet a = with_seed(*plan, 1), b = with_seed(*plan, 2);
  EXPECT_EQ(values_of(a, "kv_indices"), values_of(b, "kv_indices"));
  EXPECT_NE(values_of(a, "q"), values_of(b, "q"));
  EXPECT_EQ(open_sources(a)[6]->scalar(), 0.125);
}

TEST(PlanInputs, FloatingBlobsCannotBeSynthesised) {
  const Problem problem = make_problem(decode_signature(), R"json({"uuid": "u",
    "axes": {"batch_size": 1, "num_pages": 2, "len_indptr": 2, "num_kv_indices": 1},
    "inputs": {"q": {"type": "safetensors", "path": "blob/q.safetensors",
                     "tensor_key": "q"}}})json");
  const Result<InputPlan> plan = plan_inputs(problem);
  expect_error(plan, {"rows.jsonl:7", "q: blob", "not there"});
  EXPECT_EQ(plan.error().code, ErrorCode::kNotFound);
}

TEST(PlanInputs, ScalarsNeedAValue) {
  const SignaturePtr signature = make_signature(R"json({"name": "scale", "op_type": "x",
    "axes": {"n": {"type": "var"}},
    "inputs": {"x": {"shape": ["n"], "dtype": "float32"}, "a": {"shape": null, "dtype": "float32"}},
    "outputs": {"y": {"shape": ["n"], "dtype": "float32"}}, "reference": "def run(x): pass"})json");
  expect_error(plan_inputs(make_problem(signature, R"json({"uuid": "u", "axes": {"n": 1},
                                                       "inputs": {}})json")),
               {"no value for the scalar a"});
}

TEST(PlanInputs, AFalseConstraintIsNamed) {
  const SignaturePtr signature = make_signature(R"json({"name": "c", "op_type": "x",
    "axes": {"n": {"type": "var"}, "total": {"type": "var"}},
    "constraints": ["max(ids_indptr) < 3", "total == ids_indptr[-1].item()"],
    "inputs": {"x": {"shape": ["total"], "dtype": "float32"},
               "ids_indptr": {"shape": ["n"], "dtype": "int32"}},
    "outputs": {"y": {"shape": ["n"], "dtype": "float32"}}, "reference": "def run(x): pass"})json");
  expect_error(
      plan_inputs(make_problem(
          signature, R"json({"uuid": "u", "axes": {"n": 2, "total": 4}, "inputs": {}})json")),
      {"rows.jsonl:7", "max(ids_indptr) < 3", "does not hold"});
}

// ---- The public dataset's rows, whose blobs are nowhere to be had
// ----------------------------------

fs::path dataset_folder() {
  return fs::path(FIB_SOURCE_DIR) / "../shared/data/flashinfer-trace/main";
}

class PublicDataset : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(dataset_folder())) GTEST_SKIP() << dataset_folder() << " is not there";
  }
};

// Causal prefill: wherever the keys suffice, each request has at least its queries.
void expect_enough_keys(const InputPlan& plan) {
  const std::vector<int64_t> q = integers_of(plan, "qo_indptr"),
                             kv = integers_of(plan, "kv_indptr");
  if (q.back() > kv.back()) return;
  for (size_t i = 1; i < q.size(); ++i) ASSERT_GE(kv[i] - kv[i - 1], q[i] - q[i - 1]);
}

TEST_F(PublicDataset, EveryRowWithoutBlobsIsPlanned) {
  Catalog catalog = *Catalog::builtin(fs::path(FIB_SOURCE_DIR) / "signatures/definitions");
  const Result<void> added = catalog.add_dataset(dataset_folder());
  ASSERT_TRUE(added) << added.error().to_string();
  const auto sets = read_workloads(dataset_folder());
  ASSERT_TRUE(sets) << sets.error().to_string();
  int planned = 0, synthesised = 0;
  for (const WorkloadSet& set : *sets) {
    const auto signature = catalog.find(set.signature);
    ASSERT_TRUE(signature) << signature.error().to_string();
    for (const Workload& workload : set.workloads) {
      const Result<Problem> problem = fib::bind(*signature, workload);
      ASSERT_TRUE(problem) << problem.error().to_string();
      const Result<InputPlan> plan = plan_inputs(*problem);
      ASSERT_TRUE(plan) << plan.error().to_string();
      ++planned;
      if (has_note(*plan, "synthesised")) ++synthesised;
      if ((*signature)->find_input("qo_indptr")) expect_enough_keys(*plan);
    }
  }
  EXPECT_EQ(planned, 663);
  EXPECT_EQ(synthesised, 307);
}

// The only real blobs at hand: pages are numbered from 1.
TEST_F(PublicDataset, RealDecodeBlobsLoad) {
  const fs::path early = dataset_folder() / "../2025-08-early";
  const auto sets = read_workloads(early / "sample48.decode.workload.jsonl");
  ASSERT_TRUE(sets) << sets.error().to_string();
  ASSERT_EQ(sets->size(), 1u);
  ASSERT_EQ(sets->front().workloads.size(), 48u);
  const auto signature =
      read_signature(early / "definitions/decode/batch_gqa_paged_decode_h32_kv8_d128_ps1.json",
                     Strictness::kTolerant);
  ASSERT_TRUE(signature) << signature.error().to_string();
  const auto shared = std::make_shared<const Signature>(*signature);
  for (const Workload& workload : sets->front().workloads) {
    const Result<Problem> problem = fib::bind(shared, workload);
    ASSERT_TRUE(problem) << problem.error().to_string();
    const Result<InputPlan> plan = plan_inputs(*problem);
    ASSERT_TRUE(plan) << plan.error().to_string();
    EXPECT_TRUE(has_note(*plan, "num_pages raised"));
    EXPECT_EQ(plan->problem.axes.at("num_pages"), problem->axes.at("num_pages") + 1);
    EXPECT_FALSE(has_note(*plan, "synthesised"));
  }
}

}  // namespace
}  // namespace fib
