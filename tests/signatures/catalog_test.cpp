#include "signatures/catalog.h"

#include <gtest/gtest.h>

#include "tests/signatures/helpers.h"

namespace fib {
namespace {

TEST(Catalog, HoldsTheBuiltinFamilies) {
  const auto catalog = Catalog::builtin(definitions_folder());
  ASSERT_TRUE(catalog) << catalog.error().to_string();
  const auto all = catalog->all();
  EXPECT_GE(all.size(), 70u);
  for (size_t i = 1; i < all.size(); ++i) {
    EXPECT_LT(std::pair(all[i - 1]->op_type, all[i - 1]->name),
              std::pair(all[i]->op_type, all[i]->name));
  }
  for (const char* name :
       {"rmsnorm_h256", "rmsnorm_h4096", "fused_add_rmsnorm_h7168", "gemm_n256_k256",
        "gemm_n57344_k8192", "gqa_paged_decode_h4_kv2_d64_ps1", "gqa_paged_decode_h4_kv2_d64_ps16",
        "gqa_paged_decode_h32_kv8_d128_ps64", "gqa_paged_prefill_causal_h32_kv4_d128_ps16",
        "gqa_ragged_prefill_causal_h4_kv2_d64", "moe_int4_g32_topk8_e384_h7168_i2048",
        "moe_int4_g32_topk8_e384_h7168_i256", "moe_int4_g32_topk8_e128_h2048_i768",
        "moe_int4_g32_topk4_e32_h256_i128", "moe_bf16_topk8_e128_h2048_i768",
        "moe_routing_softmax_topk8_e128", "embedding_v151936_h2048", "silu_and_mul_i14336",
        "gemm_bf16_n5120_k2048", "gemm_bf16_f32_n151936_k2048", "argmax_v4096",
        "fused_add_rmsnorm_residual_h2048"}) {
    const auto found = catalog->find(name);
    ASSERT_TRUE(found) << found.error().to_string();
    EXPECT_EQ((*found)->name, name);
  }
}

TEST(Catalog, MakesUnlistedInstancesOfItsFamilies) {
  const auto catalog = Catalog::builtin(definitions_folder());
  ASSERT_TRUE(catalog);
  const auto norm = catalog->find("rmsnorm_h1234");
  ASSERT_TRUE(norm) << norm.error().to_string();
  EXPECT_EQ((*norm)->find_axis("hidden_size")->value, 1234);
  EXPECT_EQ((*norm)->parameter("eps", 0), 1e-6);
  // Two families part the page sizes between them.
  const auto single = catalog->find("gqa_paged_decode_h8_kv2_d64_ps1");
  ASSERT_TRUE(single) << single.error().to_string();
  EXPECT_EQ((*single)->find_input("kv_last_page_len"), nullptr);
  const auto paged = catalog->find("gqa_paged_decode_h8_kv2_d64_ps32");
  ASSERT_TRUE(paged) << paged.error().to_string();
  EXPECT_NE((*paged)->find_input("kv_last_page_len"), nullptr);
  EXPECT_EQ((*paged)->fib.family, "gqa_paged_decode_last_page");
}

TEST(Catalog, SaysWhyAnInstanceIsImpossible) {
  const auto catalog = Catalog::builtin(definitions_folder());
  ASSERT_TRUE(catalog);
  expect_error(catalog->find("gqa_paged_decode_h7_kv2_d64_ps1"),
               {"gqa_paged_decode.json", "/constraints/2",
                "'num_qo_heads % num_kv_heads == 0' is false for these axes"});
  expect_error(catalog->find("moe_int4_g32_topk4_e32_h100_i128"),
               {"moe_int4_g32.json", "/axes/hidden_words/value"});
}

TEST(Catalog, NamesTheNearestForAMisspelledName) {
  const auto catalog = Catalog::builtin(definitions_folder());
  ASSERT_TRUE(catalog);
  const auto found = catalog->find("rmsnrom_h4096");
  expect_error(found, {"no signature 'rmsnrom_h4096'", "rmsnorm_h4096"});
  EXPECT_EQ(found.error().code, ErrorCode::kNotFound);
  // Leading zeros and signs would be second names of the same signature.
  EXPECT_FALSE(catalog->find("rmsnorm_h04096"));
  EXPECT_FALSE(catalog->find("rmsnorm_h-1"));
  EXPECT_FALSE(catalog->find("rmsnorm_h"));
  EXPECT_FALSE(catalog->find("rmsnorm_h12x"));
}

TEST(Catalog, RefusesAMissingFolderAndDoubleNames) {
  expect_error(Catalog::builtin("/nowhere/definitions"), {"/nowhere/definitions", "can't be read"});
  const TemporaryFolder folder;
  const std::string family = read_text(definitions_folder() / "rmsnorm/rmsnorm.json");
  folder.write("a/rmsnorm.json", family);
  folder.write("b/again.json", family);
  const auto catalog = Catalog::builtin(folder.path());
  expect_error(catalog, {"b/again.json", "is already defined in", "a/rmsnorm.json"});
  EXPECT_EQ(catalog.error().code, ErrorCode::kConflict);
}

TEST(Catalog, KeepsOursWhereADatasetAgrees) {
  auto catalog = Catalog::builtin(definitions_folder());
  ASSERT_TRUE(catalog);
  const size_t before = catalog->all().size();
  const TemporaryFolder dataset;
  dataset.write("definitions/rmsnorm/rmsnorm_h4096.json", read_fixture("foreign_rmsnorm.json"));
  dataset.write("definitions/x/deep/er/double.json", read_fixture("foreign_minimal.json"));
  const auto added = catalog->add_dataset(dataset.path());
  ASSERT_TRUE(added) << added.error().to_string();
  EXPECT_EQ(catalog->all().size(), before + 1);
  EXPECT_EQ((*catalog->find("rmsnorm_h4096"))->fib.family, "rmsnorm");
  EXPECT_FALSE((*catalog->find("double"))->has_fib_key);
}

TEST(Catalog, AnUnlistedInstanceGivesWayToADatasetsDefinition) {
  auto catalog = Catalog::builtin(definitions_folder());
  ASSERT_TRUE(catalog);
  Json other = fixture("foreign_rmsnorm.json");
  other["name"] = "rmsnorm_h1234";
  other["inputs"]["weight"]["dtype"] = "float32";
  const TemporaryFolder dataset;
  dataset.write("definitions/rmsnorm_h1234.json", other.dump());
  const auto added = catalog->add_dataset(dataset.path());
  ASSERT_TRUE(added) << added.error().to_string();
  EXPECT_EQ((*catalog->find("rmsnorm_h1234"))->find_input("weight")->dtype, DType::kFloat32);
}

TEST(Catalog, RefusesADatasetThatContradictsUsOrItself) {
  auto catalog = Catalog::builtin(definitions_folder());
  ASSERT_TRUE(catalog);
  Json other = fixture("foreign_rmsnorm.json");
  other["inputs"]["weight"]["dtype"] = "float32";
  const TemporaryFolder contradicting;
  contradicting.write("definitions/rmsnorm_h4096.json", other.dump());
  expect_error(catalog->add_dataset(contradicting.path()),
               {"rmsnorm_h4096.json", "differs in its inputs or outputs", "rmsnorm.json"});

  const TemporaryFolder twice;
  twice.write("definitions/a.json", read_fixture("foreign_minimal.json"));
  twice.write("definitions/b.json", read_fixture("foreign_minimal.json"));
  expect_error(catalog->add_dataset(twice.path()),
               {"b.json", "'double' is already defined in", "a.json"});
}

}  // namespace
}  // namespace fib
