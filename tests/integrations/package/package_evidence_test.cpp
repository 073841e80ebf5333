#include "integrations/package/package_evidence.h"

#include <gtest/gtest.h>

namespace fib {
namespace {

Json manifest() {
  return Json::parse(R"({"signatures": [{"name": "gemm", "hardware": [
      {"hardware": "here", "buckets": [
        {"solution": "panels", "evidence": {"speedup": 2.0}},
        {"solution": "panels", "evidence": {"speedup": 8.0}},
        {"solution": "pinned", "evidence": {"speedup": 0.0}}]},
      {"hardware": "elsewhere", "buckets": [
        {"solution": "tiles", "evidence": {"speedup": 3.0}}]}]}]})");
}

TEST(PackageEvidence, IsTheMeanOverBucketsOfThisHardware) {
  const auto promised = promised_speedups(manifest(), "here");
  ASSERT_TRUE(promised);
  ASSERT_EQ(promised->size(), 1u) << "nothing of elsewhere, nothing unmeasured";
  EXPECT_DOUBLE_EQ(promised->at({"gemm", "panels"}), 4.0);
}

TEST(PackageEvidence, RefusesWhatIsNoManifest) {
  Json damaged = manifest();
  damaged["signatures"][0].erase("name");
  const auto promised = promised_speedups(damaged, "here");
  ASSERT_FALSE(promised);
  EXPECT_EQ(promised.error().code, ErrorCode::kInvalidInput);
  EXPECT_FALSE(promised_speedups(Json(3), "here"));
}

}  // namespace
}  // namespace fib
