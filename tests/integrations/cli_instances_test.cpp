// Which instances of a family are measured when nobody names one.

#include <gtest/gtest.h>

#include "integrations/cli/instances.h"
#include "signatures/catalog.h"

namespace fib {
namespace {

// Has devices and a target, and can't measure.
class FakeRunner : public Runner {
 public:
  FakeRunner(std::string target, std::vector<size_t> memory_bytes)
      : target_(std::move(target)), memory_bytes_(std::move(memory_bytes)) {}
  std::string_view target() const override { return target_; }
  Support available() const override { return {.ok = true}; }
  Support supports(const Solution&, const Signature&) const override { return {.ok = true}; }
  std::vector<DeviceInfo> devices() const override {
    std::vector<DeviceInfo> devices;
    for (size_t i = 0; i < memory_bytes_.size(); ++i) {
      devices.push_back({.index = static_cast<int>(i), .memory_bytes = memory_bytes_[i]});
    }
    return devices;
  }
  Result<BuildOutcome> build(const BuildRequest&) override { return BuildOutcome{}; }
  Result<std::unique_ptr<Session>> open_session(int) override {
    return fail(ErrorCode::kUnsupported, "fake");
  }

 private:
  std::string target_;
  std::vector<size_t> memory_bytes_;
};

class Instances : public ::testing::Test {
 protected:
  std::vector<SignaturePtr> fitting(const Solution& solution) const {
    std::vector<SignaturePtr> signatures;
    for (const SignaturePtr& signature : catalog_.all()) {
      if (solution_fits(solution, *signature)) signatures.push_back(signature);
    }
    return signatures;
  }
  static Solution written_for(const std::string& definition) {
    Solution solution;
    solution.name = "mine";
    solution.definition = definition;
    return solution;
  }
  // One token of an expert layer in the given size.
  Problem moe(const std::string& size) const {
    const SignaturePtr signature = catalog_.find("moe_int4_g32_" + size).value();
    Workload workload;
    workload.axes = {{"num_tokens", 1}};
    return fib::bind(signature, workload).value();
  }

  const Catalog catalog_ = Catalog::builtin(FIB_SOURCE_DIR "/signatures/definitions").value();
  const FakeRunner host_{"cpu", {size_t{8} << 30}};
  const FakeRunner card_{"cuda", {size_t{80} << 30, size_t{8} << 30}};
};

TEST_F(Instances, HostTakesTheSmallOnesOfAFamily) {
  const Solution solution = written_for("moe_int4_g32");
  const auto chosen = default_instances(solution, host_, fitting(solution));
  ASSERT_EQ(chosen.size(), 1u);
  EXPECT_EQ(instances_note(solution, chosen, "--signature"),
            "moe_int4_g32: judged on its small instance moe_int4_g32_topk4_e32_h256_i128; "
            "--signature NAME or --all-instances for others");
  EXPECT_EQ(default_instances(solution, card_, fitting(solution)), fitting(solution));
}

TEST_F(Instances, ASignatureThatIsNamedIsMeant) {
  const Solution solution = written_for("moe_int4_g32_topk8_e384_h7168_i2048");
  EXPECT_EQ(default_instances(solution, host_, fitting(solution)).size(), 1u);
}

TEST_F(Instances, EveryFamilyHasASmallInstance) {
  for (const SignaturePtr& signature : catalog_.all()) {
    const Solution solution = written_for(signature->fib.family);
    const auto all = fitting(solution);
    EXPECT_LT(default_instances(solution, host_, all).size(), all.size()) << solution.definition;
  }
}

TEST_F(Instances, WhatDoesntFitTheSmallestDeviceIsLeftOut) {
  const auto jobs_of = [&] {
    return std::vector<EvaluationJob>{
        {written_for("moe_int4_g32"), {moe("topk4_e32_h256_i128"), moe("topk8_e384_h7168_i2048")}},
        {written_for("moe_int4_g32"), {moe("topk8_e384_h7168_i2048")}}};
  };
  std::vector<EvaluationJob> jobs = jobs_of();
  const std::vector<DeviceInfo> both = card_.devices(), large = {both[0]};
  EXPECT_TRUE(drop_too_large(large, 3, jobs).empty());
  EXPECT_EQ(jobs.size(), 2u);
  const std::set<std::string> notes = drop_too_large(both, 3, jobs);
  ASSERT_EQ(jobs.size(), 1u) << "a job without problems is none";
  EXPECT_EQ(jobs[0].problems.size(), 1u);
  ASSERT_EQ(notes.size(), 1u) << "once a signature";
  EXPECT_EQ(*notes.begin(),
            "moe_int4_g32_topk8_e384_h7168_i2048: 1 workload left out, needing up to 8.86 GiB "
            "where 6.40 GiB can be used; --signature moe_int4_g32_topk8_e384_h7168_i2048 tries "
            "anyway");
}

}  // namespace
}  // namespace fib
