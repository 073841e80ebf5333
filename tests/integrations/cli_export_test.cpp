// fib export: packages of winners, why they are winners, and datasets of them.

#include "tests/integrations/fib_process.h"
#include "tests/integrations/paired_store.h"

namespace fib::testing {
namespace {

namespace fs = std::filesystem;

#define EXPECT_HAS(text, part) \
  EXPECT_NE((text).find(part), std::string::npos) << "'" << (part) << "' in:\n" << (text)

class Export : public FibUser {
 protected:
  void SetUp() override { make_paired_store(folder_ / "fib.db"); }

  // The command's error, which has exit code 2.
  std::string refusal(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "export");
    const Finished finished = fib(arguments);
    EXPECT_EQ(finished.code, 2) << finished.out << finished.err;
    return finished.err;
  }
};

TEST_F(Export, ExplainsWithoutBuilding) {
  const Finished finished = fib({"export", "--explain"});
  EXPECT_EQ(finished.code, 0) << finished.err;
  EXPECT_EQ(finished.out,
            "rmsnorm_h64  TEST_CPU\n"
            "  batch_size 3..4: mine\n"
            "    mine: 1.50x [1.48, 1.52] on 1 workload, confirmed: chosen\n"
            "  batch_size 5..8: mine\n"
            "    mine: 1.40x [1.38, 1.42] on 1 workload, confirmed: chosen\n"
            "  batch_size 65..128: the fallback\n"
            "    mine: 0.80x [0.78, 0.82] on 1 workload: slower than the fallback "
            "'rmsnorm-rows'\n"
            "    measured before verdicts told which fib headers they are of: verdicts 1, 2\n");
  EXPECT_EQ(finished.err, "");

  const Json document = fib_json({"export", "--explain", "--min-gain", "0.45"});
  EXPECT_EQ(document.at("buckets_measured"), 3);
  EXPECT_EQ(document.at("buckets_won"), 1);
  ASSERT_EQ(document.at("winners").size(), 1u);
  const Json& winner = document.at("winners").at(0);
  EXPECT_EQ(winner.at("signature"), "rmsnorm_h64");
  EXPECT_EQ(winner.at("bucket"), "batch_size 3..4");
  EXPECT_EQ(winner.at("solution"), "mine");
  EXPECT_EQ(winner.at("incumbent"), "rmsnorm-rows");
  EXPECT_EQ(winner.at("verdicts"), Json::array({1}));
  EXPECT_HAS(document.at("explanations").at(1).at("reasons").at(0).get<std::string>(),
             "gains less than 45 %");
}

TEST_F(Export, BuildsAPackage) {
  const Finished finished = fib({"export", "kernels", "--archive", "--wheel"});
  ASSERT_EQ(finished.code, 0) << finished.out << finished.err;
  EXPECT_HAS(finished.out, "rmsnorm_h64  TEST_CPU\n  batch_size 3..8  mine: 1.45x");
  EXPECT_HAS(finished.out, "confirmed over rmsnorm-rows");
  EXPECT_HAS(finished.out, "version 2026.11.22+");
  EXPECT_HAS(finished.out, "1 signature for x86-64-v4-amx, x86-64-v4-bf16, x86-64-v4, x86-64-v3, ")
      << "what is packed is for other machines";
  EXPECT_HAS(finished.out, "winners in 2 of 3 measured buckets");
  EXPECT_HAS(finished.out, "\nkernels.tar.zst\n");
  EXPECT_HAS(finished.out, ".whl\n");
  EXPECT_HAS(finished.out, "next: fib serve MODEL --kernels ");
  EXPECT_EQ(finished.err, "") << "quiet in a pipe";
  for (const char* file : {"kernels/lib/libfib_kernels.so", "kernels/SHA256SUMS",
                           "kernels/share/fib_kernels/manifest.json", "kernels.tar.zst"}) {
    EXPECT_TRUE(fs::exists(folder_ / file)) << file;
  }
  const std::string manifest = read("kernels/share/fib_kernels/manifest.json");
  EXPECT_HAS(manifest, "\"mine\"");
  EXPECT_HAS(manifest, "policy confirmed, gains of 2 % at least");

  // Again, in its place, without winners.
  const Json house = fib_json({"export", "kernels/", "--house", "--signature", "rmsnorm_h64"});
  EXPECT_EQ(house.at("buckets_won"), 0);
  EXPECT_EQ(house.at("cpu_levels"), Json::array({"native"}));
  EXPECT_NE(house.at("version").get<std::string>().find("+"), std::string::npos);
  EXPECT_GT(house.at("bytes").get<int64_t>(), 0);
  const std::string of_the_house = read("kernels/share/fib_kernels/manifest.json");
  EXPECT_EQ(of_the_house.find("\"mine\""), std::string::npos);
  EXPECT_HAS(of_the_house, "rmsnorm-rows");
}

TEST_F(Export, NamesAndVersionsAreTheCallers) {
  const Json named = fib_json({"export", "kernels", "--house", "--signature", "rmsnorm_h64",
                               "--name", "our-kernels", "--version", "7.1"});
  EXPECT_EQ(named.at("version"), "7.1");
  const Json manifest = Json::parse(read("kernels/share/fib_kernels/manifest.json"));
  EXPECT_EQ(manifest.at("name"), "our-kernels");
  EXPECT_EQ(manifest.at("version"), "7.1");
  EXPECT_HAS(refusal({"kernels", "--name", "our kernels"}), "can't name a package");
  EXPECT_HAS(refusal({"out", "--format", "flashinfer-trace", "--version", "1"}),
             "--version: is for --format package");
}

TEST_F(Export, AModelNeedsNoEvidenceOfItsOwn) {
  const Json document = fib_json({"export", "--explain", "--model", "fib-tiny-moe"});
  EXPECT_GT(document.at("signatures").get<int>(), 10) << "the house serves what nobody won";
  EXPECT_EQ(document.at("cpu_levels"), Json::array({"native"}));
  EXPECT_EQ(document.at("architectures"), Json::array());
  const Json portable = fib_json({"export", "--explain", "--model", "fib-tiny-moe", "--cpu-level",
                                  "portable", "--arch", "sm_90a", "--arch", "sm_80"});
  EXPECT_EQ(portable.at("cpu_levels"),
            Json::array({"x86-64-v4-amx", "x86-64-v4-bf16", "x86-64-v4", "x86-64-v3"}));
  EXPECT_EQ(portable.at("architectures"), Json::array({"sm_90a", "sm_80"}));
}

TEST_F(Export, WhoFailedSinceIsNoWinner) {
  add_pair(**Store::open(folder_ / "fib.db"),
           {.batch_size = 3, .status = VerdictStatus::kRuntimeError});
  const Json document = fib_json({"export", "--explain"});
  EXPECT_EQ(document.at("buckets_won"), 1);
  EXPECT_HAS(document.at("explanations").at(0).at("reasons").at(0).get<std::string>(),
             "RUNTIME_ERROR on w3 (verdict 4), so it can't win here");
}

TEST_F(Export, HardwareIsChosenByItsKey) {
  add_pair(**Store::open(folder_ / "fib.db"),
           {.batch_size = 70, .speedup = 3.0, .hardware = "OTHER_CPU"});
  EXPECT_EQ(fib_json({"export", "--explain"}).at("buckets_won"), 3);
  const Json one = fib_json({"export", "--explain", "--hardware", "OTHER_CPU"});
  ASSERT_EQ(one.at("winners").size(), 1u);
  EXPECT_EQ(one.at("winners").at(0).at("hardware"), "OTHER_CPU");
  EXPECT_HAS(refusal({"--explain", "--hardware", "NO_CPU"}),
             "there are comparisons on OTHER_CPU, TEST_CPU");
}

TEST_F(Export, WithoutComparisonsNobodyCanHaveWon) {
  ASSERT_TRUE(Store::open(folder_ / "empty.db"));
  for (const char* store : {"none.db", "empty.db"}) {
    const std::string error = refusal({"out", "--store", store, "--signature", "rmsnorm_h64"});
    EXPECT_HAS(error, store);
    EXPECT_HAS(error, "'fib compare MINE house --signature rmsnorm_h64' compares");
    EXPECT_HAS(error, "--house exports");
  }
  EXPECT_FALSE(fs::exists(folder_ / "none.db")) << "looking makes no file";
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

TEST_F(Export, RefusesWhatMakesNoSense) {
  EXPECT_HAS(refusal({}), "where to?");
  EXPECT_HAS(refusal({"out", "--only", "nobody"}), "no solution 'nobody' was compared");
  EXPECT_HAS(refusal({"out", "--signature", "rmsnorm_64"}), "rmsnorm_h64");
  EXPECT_HAS(refusal({"out", "--model", "no-such"}), "no-such");
  EXPECT_HAS(refusal({"out", "--house"}), "--model fib-tiny-moe");
  EXPECT_HAS(refusal({"out", "--house", "--only", "mine", "--signature", "rmsnorm_h64"}),
             "--only: chooses among winners");
  EXPECT_HAS(refusal({"out", "--cpu-level", "none"}), "--arch sm_90a");
  EXPECT_HAS(refusal({"out", "--cpu-level", "x86-64-v9"}), "x86-64-v9");
  EXPECT_HAS(refusal({"out", "--winners"}), "--winners: is for --format flashinfer-trace");
  EXPECT_HAS(refusal({"out", "--format", "flashinfer-trace", "--archive"}),
             "--archive: is for --format package");
  EXPECT_HAS(refusal({"out", "--format", "flashinfer-trace", "--policy", "fastest"}),
             "--policy: chooses among winners");
  EXPECT_HAS(refusal({"out", "--policy", "boldest"}), "--policy");
  EXPECT_HAS(refusal({"out", "--min-gain", "-1"}), "--min-gain");
  EXPECT_FALSE(fs::exists(folder_ / "out"));
  write("taken/file", "somebody's");
  EXPECT_HAS(refusal({"taken"}), "taken");
  EXPECT_EQ(read("taken/file"), "somebody's");
}

TEST_F(Export, ADatasetOfWinnersHasNobodyElse) {
  const Json all = fib_json({"export", "all", "--format", "flashinfer-trace"});
  EXPECT_EQ(all.at("traces"), 3);
  const Json winners = fib_json({"export", "won", "--format", "flashinfer-trace", "--winners"});
  EXPECT_EQ(winners.at("solutions"), 1);
  EXPECT_EQ(winners.at("traces"), 2) << "those that it won by";
  EXPECT_TRUE(fs::exists(folder_ / "won/solutions/me/rmsnorm/rmsnorm_h64/mine__rmsnorm_h64.json"));
  EXPECT_HAS(refusal({"none", "--format", "flashinfer-trace", "--winners", "--min-gain", "9"}),
             "nobody won a bucket");
}

}  // namespace
}  // namespace fib::testing
