#include "signatures/problem.h"

#include <gtest/gtest.h>

#include "signatures/catalog.h"
#include "tests/signatures/helpers.h"

namespace fib {
namespace {

Workload workload(std::vector<std::pair<std::string, int64_t>> axes) {
  Workload result;
  result.axes = std::move(axes);
  result.where = "rows.jsonl:3";
  return result;
}

class Bind : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto read = Catalog::builtin(definitions_folder());
    ASSERT_TRUE(read) << read.error().to_string();
    catalog_ = std::make_unique<Catalog>(*std::move(read));
  }
  static void TearDownTestSuite() { catalog_.reset(); }
  static SignaturePtr signature(std::string_view name) {
    const auto found = catalog_->find(name);
    EXPECT_TRUE(found) << found.error().to_string();
    return *found;
  }
  static std::unique_ptr<Catalog> catalog_;
};
std::unique_ptr<Catalog> Bind::catalog_;

TEST_F(Bind, DescribesEveryTensor) {
  const auto problem = fib::bind(signature("rmsnorm_h4096"), workload({{"batch_size", 7}}));
  ASSERT_TRUE(problem) << problem.error().to_string();
  EXPECT_EQ(problem->label(), "rmsnorm_h4096 batch_size=7");
  EXPECT_EQ(problem->axes, (std::map<std::string, int64_t>{{"batch_size", 7}, {"hidden_size", 4096}}));
  ASSERT_EQ(problem->inputs.size(), 2u);
  EXPECT_EQ(problem->inputs[0].name, "hidden_states");
  EXPECT_EQ(problem->inputs[0].shape, (std::vector<int64_t>{7, 4096}));
  EXPECT_EQ(problem->inputs[0].size_bytes(), 7u * 4096 * 2);
  EXPECT_FALSE(problem->inputs[0].is_weight);
  EXPECT_TRUE(problem->inputs[1].is_weight);
  ASSERT_EQ(problem->outputs.size(), 1u);
  EXPECT_EQ(problem->outputs[0].num_elements(), 7 * 4096);
}

TEST_F(Bind, DerivesAxesFromConstraints) {
  const auto problem =
      fib::bind(signature("gqa_paged_decode_h4_kv2_d64_ps1"),
           workload({{"batch_size", 3}, {"num_pages", 50}, {"num_kv_indices", 40}}));
  ASSERT_TRUE(problem) << problem.error().to_string();
  EXPECT_EQ(problem->axes.at("len_indptr"), 4);
  const TensorDesc& offsets = problem->inputs[3];
  EXPECT_EQ(offsets.name, "kv_indptr");
  EXPECT_TRUE(offsets.is_host_visible);
  const TensorDesc& scale = problem->inputs[5];
  EXPECT_TRUE(scale.is_host_scalar);
  EXPECT_EQ(scale.size_bytes(), 4u);
}

TEST_F(Bind, ReportsAxesThatOnlyValuesFix) {
  expect_error(fib::bind(signature("gqa_paged_decode_h4_kv2_d64_ps1"),
                    workload({{"batch_size", 3}, {"num_pages", 50}})),
               {"rows.jsonl:3: /workload/axes", "axis 'num_kv_indices' is left open",
                "num_kv_indices == kv_indptr[-1].item()"});
}

TEST_F(Bind, RefusesAxesThatDontFit) {
  const auto norm = signature("rmsnorm_h4096");
  expect_error(fib::bind(norm, workload({})), {"axis 'batch_size' is left open"});
  expect_error(fib::bind(norm, workload({{"batchsize", 1}})),
               {"/workload/axes/batchsize", "no axis 'batchsize'", "did you mean 'batch_size'?"});
  expect_error(fib::bind(norm, workload({{"batch_size", -1}})),
               {"/workload/axes/batch_size", "negative size -1"});
  expect_error(fib::bind(norm, workload({{"batch_size", 1}, {"hidden_size", 2048}})),
               {"/workload/axes/hidden_size", "is 4096 in the signature, but 2048"});
  expect_error(fib::bind(norm, workload({{"batch_size", int64_t{1} << 40}})),
               {"'hidden_states'", "takes more than 2^46 bytes"});
  expect_error(fib::bind(norm, workload({{"batch_size", INT64_MAX}})), {"more than 2^46 bytes"});
  EXPECT_TRUE(fib::bind(norm, workload({{"batch_size", 0}})));
  // A const axis that the workload repeats correctly is fine.
  EXPECT_TRUE(fib::bind(norm, workload({{"batch_size", 1}, {"hidden_size", 4096}})));
}

TEST_F(Bind, RefusesFalseConstraints) {
  expect_error(fib::bind(signature("gqa_paged_decode_h4_kv2_d64_ps1"),
                    workload({{"batch_size", 3}, {"len_indptr", 5}, {"num_pages", 50},
                              {"num_kv_indices", 40}})),
               {"rows.jsonl:3", "'len_indptr == batch_size + 1' is false for",
                "batch_size=3, len_indptr=5"});
}

TEST_F(Bind, RefusesInputsThatDontFit) {
  const auto attention = signature("gqa_paged_decode_h4_kv2_d64_ps1");
  Workload row = workload({{"batch_size", 3}, {"num_pages", 50}, {"num_kv_indices", 40}});
  row.inputs = {{"smscale", RandomInput{}}};
  expect_error(fib::bind(attention, row),
               {"/workload/inputs/smscale", "no input 'smscale'", "did you mean 'sm_scale'?"});
  row.inputs = {{"q", ScalarInput{1.0}}};
  expect_error(fib::bind(attention, row),
               {"/workload/inputs/q", "is a tensor, the workload gives a scalar"});
  row.inputs = {{"sm_scale", SafetensorsInput{"x.safetensors", "x"}}};
  expect_error(fib::bind(attention, row),
               {"/workload/inputs/sm_scale", "is a host scalar, the workload gives a tensor"});
  row.inputs = {{"sm_scale", ScalarInput{0.125}}, {"kv_indptr", SafetensorsInput{"x", "y"}}};
  EXPECT_TRUE(fib::bind(attention, row));
}

TEST_F(Bind, ChecksConstraintsOnShapes) {
  Json json = fixture("foreign_minimal.json");
  json["constraints"] = {"x.shape[0] > 1", "n % 2 == 0"};
  const auto read = signature_from_json(json, "double.json", Strictness::kTolerant);
  ASSERT_TRUE(read) << read.error().to_string();
  const auto shared = std::make_shared<const Signature>(*read);
  EXPECT_TRUE(fib::bind(shared, workload({{"n", 2}})));
  expect_error(fib::bind(shared, workload({{"n", 0}})), {"'x.shape[0] > 1' is false"});
  expect_error(fib::bind(shared, workload({{"n", 3}})), {"'n % 2 == 0' is false for n=3"});
  json["constraints"] = {"m == 1"};
  const auto stray = signature_from_json(json, "double.json", Strictness::kTolerant);
  ASSERT_TRUE(stray);
  expect_error(fib::bind(std::make_shared<const Signature>(*stray), workload({{"n", 2}})),
               {"'m' is neither an axis"});
}

}  // namespace
}  // namespace fib
