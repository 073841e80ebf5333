// The attention references against one plain softmax over an explicit list of (key, value) rows.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/reference/error_size.h"
#include "tests/workloads/inputs_fixture.h"

namespace fib {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
using Row = std::vector<double>;

Row slice(const Row& values, int64_t first, int64_t count) {
  return Row(values.begin() + first, values.begin() + first + count);
}

struct Attended {
  Row output;
  double lse = kMinusInfinity;
};

// Without a running maximum: the logits of these tests are small.
Attended softmax_attention(const Row& q, const std::vector<Row>& keys,
                           const std::vector<Row>& values, double scale, size_t value_dim) {
  Attended result{Row(value_dim, 0.0)};
  double total = 0;
  for (size_t p = 0; p < keys.size(); ++p) {
    double logit = 0;
    for (size_t d = 0; d < q.size(); ++d) logit += q[d] * keys[p][d];
    const double weight = std::exp(logit * scale);
    total += weight;
    for (size_t d = 0; d < value_dim; ++d) result.output[d] += weight * values[p][d];
  }
  if (keys.empty()) return result;
  for (double& value : result.output) value /= total;
  result.lse = std::log2(total);
  return result;
}

void expect_attended(const ReferenceOutputs& outputs, int64_t row_and_head,
                     const Attended& expected) {
  const auto dim = static_cast<int64_t>(expected.output.size());
  for (int64_t d = 0; d < dim; ++d) {
    ASSERT_NEAR(outputs[0][row_and_head * dim + d], expected.output[d], 1e-6)
        << "row*head " << row_and_head << " at " << d;
  }
  if (std::isinf(expected.lse)) {
    ASSERT_EQ(outputs[1][row_and_head], expected.lse);
  } else {
    ASSERT_NEAR(outputs[1][row_and_head], expected.lse, 1e-5) << "row*head " << row_and_head;
  }
}

constexpr int64_t kHeads = 4, kKvHeads = 2, kDim = 8;

std::string gqa_definition(bool is_prefill, int page_size) {
  const std::string rows = is_prefill ? "total_q" : "batch_size";
  return R"json({"name": "gqa", "op_type": "gqa_paged",
    "axes": {"batch_size": {"type": "var"}, "total_q": {"type": "var"},
             "len_indptr": {"type": "var"}, "num_pages": {"type": "var"},
             "num_kv_indices": {"type": "var"}, "page_size": {"type": "const", "value": )json" +
         std::to_string(page_size) + R"json(},
             "num_qo_heads": {"type": "const", "value": 4},
             "num_kv_heads": {"type": "const", "value": 2},
             "head_dim": {"type": "const", "value": 8}},
    "inputs": {"q": {"shape": [")json" +
         rows + R"json(", "num_qo_heads", "head_dim"], "dtype": "bfloat16"},
      "k_cache": {"shape": ["num_pages", "page_size", "num_kv_heads", "head_dim"],
                  "dtype": "bfloat16"},
      "v_cache": {"shape": ["num_pages", "page_size", "num_kv_heads", "head_dim"],
                  "dtype": "bfloat16"},)json" +
         (is_prefill ? R"("qo_indptr": {"shape": ["len_indptr"], "dtype": "int32"},)" : "") +
         R"json("kv_indptr": {"shape": ["len_indptr"], "dtype": "int32"},
      "kv_indices": {"shape": ["num_kv_indices"], "dtype": "int32"},)json" +
         (page_size > 1 ? R"("kv_last_page_len": {"shape": ["batch_size"], "dtype": "int32"},)"
                        : "") +
         R"json("sm_scale": {"shape": null, "dtype": "float32"}},
    "outputs": {"output": {"shape": [")json" +
         rows + R"json(", "num_qo_heads", "head_dim"], "dtype": "bfloat16"},
                "lse": {"shape": [")json" +
         rows + R"json(", "num_qo_heads"], "dtype": "float32"}},
    "reference": "def run(q): pass"})json";
}

void set_input(InputSet& inputs, std::string_view name, const std::vector<double>& values) {
  for (InputValue& value : inputs.values) {
    if (value.desc.name == name) value.source = bytes_of(value.desc.dtype, values);
  }
}

struct PagedCase {
  bool is_prefill;
  int page_size;
  std::vector<double> qo_indptr;  // queries of each request
  std::vector<double> kv_indptr;
  std::vector<double> pages;
  std::vector<double> last;
};

void check_paged(const PagedCase& c) {
  const auto requests = static_cast<int64_t>(c.kv_indptr.size()) - 1;
  const auto rows = static_cast<int64_t>(c.qo_indptr.back());
  constexpr int64_t kPages = 7;
  const Problem problem =
      make_problem(make_signature(gqa_definition(c.is_prefill, c.page_size)),
                   R"({"uuid": "u", "inputs": {"sm_scale": {"type": "scalar", "value": 0.35}},
          "axes": {"num_pages": 7, "batch_size": )" +
                       std::to_string(requests) + ", \"total_q\": " + std::to_string(rows) +
                       ", \"len_indptr\": " + std::to_string(requests + 1) +
                       ", \"num_kv_indices\": " + std::to_string(c.pages.size()) + "}}");
  const auto plan = plan_inputs(problem);
  ASSERT_TRUE(plan) << plan.error().to_string();
  InputSet inputs = with_seed(*plan, 17);
  if (c.is_prefill) set_input(inputs, "qo_indptr", c.qo_indptr);
  set_input(inputs, "kv_indptr", c.kv_indptr);
  set_input(inputs, "kv_indices", c.pages);
  if (c.page_size > 1) set_input(inputs, "kv_last_page_len", c.last);
  // The plan may have widened num_pages for structure that is replaced here.
  ASSERT_GE(plan->problem.axes.at("num_pages"), kPages);

  const auto exact = run_reference(plan->problem, inputs, Precision::kExact);
  const auto honest = run_reference(plan->problem, inputs, Precision::kHonest);
  ASSERT_TRUE(exact) << exact.error().to_string();
  ASSERT_TRUE(honest);
  const Row q = values_of(inputs, "q"), k = values_of(inputs, "k_cache"),
            v = values_of(inputs, "v_cache");
  for (int64_t r = 0; r < requests; ++r) {
    std::vector<int64_t> slots;  // where each position of the request lies
    for (auto p = static_cast<int64_t>(c.kv_indptr[r]); p < c.kv_indptr[r + 1]; ++p) {
      const bool is_last = p + 1 == c.kv_indptr[r + 1];
      const auto tokens =
          is_last && c.page_size > 1 ? static_cast<int64_t>(c.last[r]) : c.page_size;
      for (int64_t t = 0; t < tokens; ++t) {
        slots.push_back(static_cast<int64_t>(c.pages[p]) * c.page_size + t);
      }
    }
    const auto queries = static_cast<int64_t>(c.qo_indptr[r + 1] - c.qo_indptr[r]);
    for (int64_t i = 0; i < queries; ++i) {
      for (int64_t head = 0; head < kHeads; ++head) {
        std::vector<Row> keys, values;
        for (int64_t p = 0; p < static_cast<int64_t>(slots.size()); ++p) {
          if (queries - i > static_cast<int64_t>(slots.size()) - p) continue;  // after query i
          const int64_t at = (slots[p] * kKvHeads + head / (kHeads / kKvHeads)) * kDim;
          keys.push_back(slice(k, at, kDim));
          values.push_back(slice(v, at, kDim));
        }
        const int64_t row = (static_cast<int64_t>(c.qo_indptr[r]) + i) * kHeads + head;
        expect_attended(*exact, row,
                        softmax_attention(slice(q, row * kDim, kDim), keys, values, 0.35, kDim));
      }
    }
  }
  expect_rounding_error((*honest)[0], (*exact)[0], DType::kBFloat16);
}

TEST(GqaPagedDecode, EmptyRequestSingleTokenAndSharedPages) {
  check_paged({.is_prefill = false,
               .page_size = 1,
               .qo_indptr = {0, 1, 2, 3},
               .kv_indptr = {0, 5, 5, 6},
               .pages = {3, 1, 0, 6, 2, 1},
               .last = {}});
}

TEST(GqaPagedDecode, LastPageLengths) {
  check_paged({.is_prefill = false,
               .page_size = 4,
               .qo_indptr = {0, 1, 2, 3, 4},
               .kv_indptr = {0, 2, 2, 3, 5},
               .pages = {3, 1, 0, 6, 2},
               .last = {1, 4, 3, 4}});
}

TEST(GqaPagedPrefill, CausalFromTheBottomRight) {
  // As many keys as queries; more keys; fewer keys than queries (the first see nothing); none.
  check_paged({.is_prefill = true,
               .page_size = 1,
               .qo_indptr = {0, 3, 5, 9, 10},
               .kv_indptr = {0, 3, 7, 9, 9},
               .pages = {3, 1, 0, 6, 2, 1, 5, 4, 0},
               .last = {}});
  check_paged({.is_prefill = true,
               .page_size = 4,
               .qo_indptr = {0, 3, 8},
               .kv_indptr = {0, 1, 3},
               .pages = {3, 1, 0},
               .last = {3, 2}});
}

TEST(GqaPagedDecode, RefusesPagesThatAreNotThere) {
  const Problem problem = make_problem(make_signature(gqa_definition(false, 1)),
                                       R"({"uuid": "u", "inputs": {"sm_scale": {"type": "scalar",
      "value": 1}}, "axes": {"num_pages": 7, "batch_size": 1, "total_q": 1, "len_indptr": 2,
      "num_kv_indices": 2}})");
  InputSet inputs = with_seed(*plan_inputs(problem), 1);
  set_input(inputs, "kv_indices", {1, 7});
  const auto outputs = run_reference(problem, inputs, Precision::kExact);
  ASSERT_FALSE(outputs);
  EXPECT_EQ(outputs.error().to_string(), "kv_indices[1]: page 7 of 7");
  set_input(inputs, "kv_indices", {1, 6});
  set_input(inputs, "kv_indptr", {0, 3});
  const auto offsets = run_reference(problem, inputs, Precision::kExact);
  ASSERT_FALSE(offsets);
  EXPECT_NE(offsets.error().to_string().find("kv_indptr[1]"), std::string::npos);
}

TEST(GqaPagedDecode, NotANumberReachesOnlyItsOwnHead) {
  const Problem problem = make_problem(make_signature(gqa_definition(false, 1)),
                                       R"({"uuid": "u", "inputs": {"sm_scale": {"type": "scalar",
      "value": 1}}, "axes": {"num_pages": 3, "batch_size": 1, "total_q": 1, "len_indptr": 2,
      "num_kv_indices": 3}})");
  InputSet inputs = with_seed(*plan_inputs(problem), 1);
  Row q = values_of(inputs, "q");
  q[0] = std::numeric_limits<double>::quiet_NaN();
  set_input(inputs, "q", q);
  const ReferenceOutputs outputs = *run_reference(problem, inputs, Precision::kExact);
  EXPECT_TRUE(std::isnan(outputs[0][0]));
  EXPECT_TRUE(std::isnan(outputs[1][0]));
  EXPECT_TRUE(std::isfinite(outputs[0][kDim]));
}

TEST(RaggedPrefill, DifferentKeyAndValueSizes) {
  const Problem problem = make_problem(make_signature(R"json({"name": "r", "op_type": "mla_ragged",
    "axes": {"total_q": {"type": "var"}, "total_kv": {"type": "var"}, "len_indptr": {"type": "var"},
             "num_qo_heads": {"type": "const", "value": 2},
             "qk_dim": {"type": "const", "value": 6}, "vo_dim": {"type": "const", "value": 3}},
    "constraints": ["total_q == qo_indptr[-1].item()", "total_kv == kv_indptr[-1].item()"],
    "inputs": {"q": {"shape": ["total_q", "num_qo_heads", "qk_dim"], "dtype": "bfloat16"},
      "k": {"shape": ["total_kv", "num_qo_heads", "qk_dim"], "dtype": "bfloat16"},
      "v": {"shape": ["total_kv", "num_qo_heads", "vo_dim"], "dtype": "bfloat16"},
      "qo_indptr": {"shape": ["len_indptr"], "dtype": "int32"},
      "kv_indptr": {"shape": ["len_indptr"], "dtype": "int32"},
      "sm_scale": {"shape": null, "dtype": "float32"}},
    "outputs": {"output": {"shape": ["total_q", "num_qo_heads", "vo_dim"], "dtype": "bfloat16"},
                "lse": {"shape": ["total_q", "num_qo_heads"], "dtype": "float32"}},
    "reference": "def run(q): pass"})json"),
                                       R"({"uuid": "u", "axes": {"total_q": 11, "total_kv": 23,
      "len_indptr": 4}, "inputs": {"sm_scale": {"type": "scalar", "value": 0.5}}})");
  const auto plan = plan_inputs(problem);
  ASSERT_TRUE(plan) << plan.error().to_string();
  const InputSet inputs = with_seed(*plan, 5);
  const auto outputs = run_reference(problem, inputs, Precision::kExact);
  ASSERT_TRUE(outputs) << outputs.error().to_string();
  const Row q = values_of(inputs, "q"), k = values_of(inputs, "k"), v = values_of(inputs, "v");
  const Row qo = values_of(inputs, "qo_indptr"), kv = values_of(inputs, "kv_indptr");
  for (size_t r = 0; r + 1 < qo.size(); ++r) {
    const auto behind = static_cast<int64_t>((kv[r + 1] - kv[r]) - (qo[r + 1] - qo[r]));
    for (auto row = static_cast<int64_t>(qo[r]); row < qo[r + 1]; ++row) {
      const auto seen = behind + row - static_cast<int64_t>(qo[r]) + 1;
      for (int64_t head = 0; head < 2; ++head) {
        std::vector<Row> keys, values;
        for (auto p = static_cast<int64_t>(kv[r]); p < kv[r] + static_cast<double>(seen); ++p) {
          keys.push_back(slice(k, (p * 2 + head) * 6, 6));
          values.push_back(slice(v, (p * 2 + head) * 3, 3));
        }
        expect_attended(*outputs, row * 2 + head,
                        softmax_attention(slice(q, (row * 2 + head) * 6, 6), keys, values, 0.5, 3));
      }
    }
  }
}

TEST(MlaPagedDecode, IsMultiQueryAttentionOverTheLatentRows) {
  const Problem problem = make_problem(make_signature(R"json({"name": "m", "op_type": "mla_paged",
    "axes": {"batch_size": {"type": "var"}, "num_pages": {"type": "var"},
             "len_indptr": {"type": "var"}, "num_kv_indices": {"type": "var"},
             "num_qo_heads": {"type": "const", "value": 3},
             "head_dim_ckv": {"type": "const", "value": 10},
             "head_dim_kpe": {"type": "const", "value": 4},
             "page_size": {"type": "const", "value": 1}},
    "constraints": ["num_kv_indices == kv_indptr[-1].item()"],
    "inputs": {"q_nope": {"shape": ["batch_size", "num_qo_heads", "head_dim_ckv"],
                 "dtype": "bfloat16"},
      "q_pe": {"shape": ["batch_size", "num_qo_heads", "head_dim_kpe"], "dtype": "bfloat16"},
      "ckv_cache": {"shape": ["num_pages", "page_size", "head_dim_ckv"], "dtype": "bfloat16"},
      "kpe_cache": {"shape": ["num_pages", "page_size", "head_dim_kpe"], "dtype": "bfloat16"},
      "kv_indptr": {"shape": ["len_indptr"], "dtype": "int32"},
      "kv_indices": {"shape": ["num_kv_indices"], "dtype": "int32"},
      "sm_scale": {"shape": null, "dtype": "float32"}},
    "outputs": {"output": {"shape": ["batch_size", "num_qo_heads", "head_dim_ckv"],
                 "dtype": "bfloat16"},
                "lse": {"shape": ["batch_size", "num_qo_heads"], "dtype": "float32"}},
    "reference": "def run(q): pass"})json"),
                                       R"({"uuid": "u", "axes": {"batch_size": 3, "num_pages": 40,
      "len_indptr": 4, "num_kv_indices": 30},
      "inputs": {"sm_scale": {"type": "scalar", "value": 0.2}}})");
  const auto plan = plan_inputs(problem);
  ASSERT_TRUE(plan) << plan.error().to_string();
  const InputSet inputs = with_seed(*plan, 6);
  const auto outputs = run_reference(problem, inputs, Precision::kExact);
  ASSERT_TRUE(outputs) << outputs.error().to_string();
  const Row q_nope = values_of(inputs, "q_nope"), q_pe = values_of(inputs, "q_pe");
  const Row ckv = values_of(inputs, "ckv_cache"), kpe = values_of(inputs, "kpe_cache");
  const std::vector<int64_t> offsets = integers_of(*plan, "kv_indptr");
  const std::vector<int64_t> pages = integers_of(*plan, "kv_indices");
  for (int64_t r = 0; r < 3; ++r) {
    std::vector<Row> keys, values;
    for (int64_t p = offsets[r]; p < offsets[r + 1]; ++p) {
      values.push_back(slice(ckv, pages[p] * 10, 10));
      keys.push_back(values.back());
      const Row rope = slice(kpe, pages[p] * 4, 4);
      keys.back().insert(keys.back().end(), rope.begin(), rope.end());
    }
    for (int64_t head = 0; head < 3; ++head) {
      Row q = slice(q_nope, (r * 3 + head) * 10, 10);
      const Row rope = slice(q_pe, (r * 3 + head) * 4, 4);
      q.insert(q.end(), rope.begin(), rope.end());
      expect_attended(*outputs, r * 3 + head, softmax_attention(q, keys, values, 0.2, 10));
    }
  }
}

}  // namespace
}  // namespace fib
