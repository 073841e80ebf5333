// The walk of a submission, end to end on the cpu target: new, submit, board, show, run and resume,
// export and import.

#include <algorithm>
#include <chrono>
#include <thread>

#include "tests/integrations/fib_process.h"

namespace fib::testing {
namespace {

// Small shapes: these tests are about the walk, not about speed.
constexpr const char* kRows =
    R"({"definition":"rmsnorm_h64","workload":{"uuid":"a","axes":{"batch_size":3},"inputs":{}}})"
    "\n"
    R"({"definition":"rmsnorm_h64","workload":{"uuid":"b","axes":{"batch_size":70},"inputs":{}}})"
    "\n";

class Submission : public FibUser {
 protected:
  void SetUp() override {
    write("rows.jsonl", kRows);
    const Finished made =
        fib({"solution", "new", "mine", "--signature", "rmsnorm_h64", "--target", "cpu"});
    ASSERT_EQ(made.code, 0) << made.err;
  }
  std::vector<std::string> submit(std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"submit",  "mine",        "--signature", "rmsnorm_h64",
                                          "--quick", "--workloads", "rows.jsonl"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
};

TEST_F(Submission, ANewSolutionPasses) {
  const Finished finished = fib(submit());
  ASSERT_EQ(finished.code, 0) << finished.out << finished.err;
  EXPECT_EQ(finished.err, "") << "quiet in a pipe";
  for (const char* part : {"mine  rmsnorm_h64", "batch_size", "PASSED", "2 of 2 passed",
                           "stored in fib.db as verdicts 1-2"}) {
    EXPECT_NE(finished.out.find(part), std::string::npos) << part << " in\n" << finished.out;
  }

  const Json board = fib_json({"board", "rmsnorm_h64"});
  ASSERT_EQ(board.at("boards").size(), 1u);
  const Json& row = board.at("boards").at(0).at("rows").at(0);
  EXPECT_EQ(row.at("solution"), "mine");
  EXPECT_EQ(row.at("rank"), 1);
  EXPECT_EQ(row.at("workloads_total"), 2);
  EXPECT_GT(row.at("geomean_latency_ns").get<double>(), 0.0);

  const Json shown = fib_json({"show", "1"});
  EXPECT_EQ(shown.at("status"), "PASSED");
  EXPECT_FALSE(shown.at("samples").at(0).at("samples").empty());
  const Finished page = fib({"show", "2"});
  EXPECT_EQ(page.code, 0);
  for (const char* part : {"Verdict 2  PASSED", "Outputs", "Time", "cold samples"}) {
    EXPECT_NE(page.out.find(part), std::string::npos) << part << " in\n" << page.out;
  }
}

TEST_F(Submission, ResubmittingTakesFromTheStoreUnlessForced) {
  ASSERT_EQ(fib(submit()).code, 0);
  const Finished again = fib(submit());
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_NE(again.out.find("2 verdicts from the store"), std::string::npos) << again.out;
  const auto forced = fib_json_lines(submit({"--force"}));
  ASSERT_EQ(forced.size(), 3u);
  EXPECT_EQ(forced[0].at("id"), 3);
  EXPECT_EQ(forced[2].at("summary").at("measured"), 2);
}

TEST_F(Submission, CompileErrorIsAVerdictWithTheCompilersWords) {
  write("mine/solution.cpp", "int broken( {\n");
  const Finished finished = fib(submit());
  EXPECT_EQ(finished.code, 1) << finished.err;
  EXPECT_NE(finished.out.find("COMPILE_ERROR"), std::string::npos) << finished.out;
  EXPECT_NE(finished.out.find("solution.cpp:1"), std::string::npos) << finished.out;
  EXPECT_NE(finished.out.find("as above"), std::string::npos) << "said once: " << finished.out;
  EXPECT_NE(finished.out.find("0 of 2 passed"), std::string::npos);
  const Finished board = fib({"board"});
  EXPECT_NE(board.out.find("0/2"), std::string::npos) << board.out;
  EXPECT_NE(board.out.find("COMPILE_ERROR"), std::string::npos) << board.out;
}

TEST_F(Submission, OneBadWorkloadDoesntKeepTheOthers) {
  write("rows.jsonl",
        std::string(kRows) +
            R"({"definition":"rmsnorm_h64","workload":{"uuid":"c","axes":{"x":1},"inputs":{}}})"
            "\n");
  const Finished finished = fib(submit());
  EXPECT_EQ(finished.code, 2);
  EXPECT_NE(finished.out.find("2 of 2 passed"), std::string::npos) << finished.out;
  EXPECT_NE(finished.err.find("rows.jsonl:3"), std::string::npos) << finished.err;
}

TEST_F(Submission, OfAFamilyOnlyTheSmallInstancesAreMeantOnTheCpu) {
  const Finished finished = fib({"submit", "mine", "--quick", "--limit", "1"});
  EXPECT_EQ(finished.code, 0) << finished.err;
  EXPECT_EQ(finished.err,
            "rmsnorm: judged on its small instances rmsnorm_h256, rmsnorm_h64; --signature NAME or "
            "--all-instances for others\n");
  EXPECT_NE(finished.out.find("2 of 2 passed"), std::string::npos) << finished.out;

  const Finished run = fib({"run", "--solutions", "mine", "--quick", "--limit", "1"});
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_NE(run.err.find("--signatures NAME or --all-instances"), std::string::npos) << run.err;
  EXPECT_NE(run.out.find("0 measured, 2 in the store before"), std::string::npos) << run.out;
}

TEST_F(Submission, WorkloadsThatAreNamedSayWhichInstancesAreMeant) {
  const Finished finished = fib({"submit", "mine", "--quick", "--workloads", "rows.jsonl"});
  EXPECT_EQ(finished.code, 0) << finished.err;
  EXPECT_EQ(finished.err, "");
  EXPECT_NE(finished.out.find("2 of 2 passed"), std::string::npos) << finished.out;
  const Finished missing = fib({"submit", "mine", "--workloads", "nowhere.jsonl"});
  EXPECT_EQ(missing.code, 2);
  EXPECT_NE(missing.err.find("nowhere.jsonl"), std::string::npos) << missing.err;
}

TEST_F(Submission, WrongSignatureIsRefused) {
  const Finished finished = fib({"submit", "mine", "--signature", "gemm_n4096_k4096"});
  EXPECT_EQ(finished.code, 2);
  EXPECT_NE(finished.err.find("'mine' is for rmsnorm, not for gemm_n4096_k4096"), std::string::npos)
      << finished.err;
  const Finished device = fib(submit({"--device", "7"}));
  EXPECT_EQ(device.code, 2);
  EXPECT_NE(device.err.find("--device: there is no cpu device '7'"), std::string::npos);
}

TEST_F(Submission, PackedAndUnpackedItIsTheSame) {
  ASSERT_EQ(fib({"solution", "pack", "mine", "-o", "mine.json"}).code, 0);
  ASSERT_EQ(fib({"solution", "unpack", "mine.json", "again"}).code, 0);
  EXPECT_EQ(read("again/solution.cpp"), read("mine/solution.cpp"));
  EXPECT_EQ(fib_json({"solution", "validate", "again"}).at("key"),
            fib_json({"solution", "validate", "mine"}).at("key"));
  EXPECT_EQ(fib({"solution", "unpack", "mine.json", "again"}).code, 2) << "not empty any more";
}

TEST_F(Submission, ExportedStoreIsADatasetThatCanBeImported) {
  ASSERT_EQ(fib(submit()).code, 0);
  const Json exported = fib_json({"export", "results", "--format", "flashinfer-trace"});
  EXPECT_EQ(exported.at("traces"), 2);
  EXPECT_EQ(exported.at("workloads"), 2);
  for (const char* file : {"results/definitions/rmsnorm/rmsnorm_h64.json",
                           "results/workloads/rmsnorm/rmsnorm_h64.jsonl",
                           "results/solutions/me/rmsnorm/rmsnorm_h64/mine__rmsnorm_h64.json",
                           "results/traces/me/rmsnorm/rmsnorm_h64.jsonl"}) {
    EXPECT_TRUE(std::filesystem::exists(folder_ / file)) << file;
  }
  EXPECT_EQ(fib({"export", "results", "--format", "flashinfer-trace"}).code, 2)
      << "would count every trace twice";
  const Json imported = fib_json({"import", "results", "--store", "other.db"});
  EXPECT_EQ(imported.at("traces"), 2);
  EXPECT_EQ(imported.at("definitions"), 1);
  EXPECT_EQ(imported.at("errors"), Json::array());
  EXPECT_EQ(fib_json({"import", "results", "--store", "other.db"}).at("traces_known"), 2);
  EXPECT_EQ(fib({"import", "mine"}).code, 2);
}

TEST_F(Submission, KilledRunResumesWhereItStood) {
  std::string rows;
  for (int i = 1; i <= 30; ++i) {
    rows += R"({"definition":"rmsnorm_h64","workload":{"uuid":"w)" + std::to_string(i) +
            R"(","axes":{"batch_size":)" + std::to_string(i) + R"(},"inputs":{}}})" + "\n";
  }
  write("many.jsonl", rows);
  const std::vector<std::string> run = {"run",         "--solutions", "mine",  "--signatures",
                                        "rmsnorm_h64", "--target",    "cpu",   "--workloads",
                                        "many.jsonl",  "--quick",     "--json"};
  const pid_t child = start(run);
  // Killed as soon as a few verdicts were reported.
  const auto reported = [&] {
    const std::string out = read("stdout");
    return std::count(out.begin(), out.end(), '\n');
  };
  for (int i = 0; i < 3000 && reported() < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ::kill(child, SIGKILL);
  const Finished killed = finish(child);
  ASSERT_EQ(killed.code, 128 + SIGKILL) << killed.out << killed.err;
  const int64_t before = reported();
  ASSERT_GE(before, 3);

  const Finished resumed = fib(run);
  ASSERT_EQ(resumed.code, 0) << resumed.out << resumed.err;
  const std::string last_line =
      resumed.out.substr(resumed.out.rfind('\n', resumed.out.size() - 2) + 1);
  const Json summary = parse_json(last_line, "stdout").value().at("summary");
  EXPECT_EQ(summary.at("verdicts"), 30);
  // One more may have been stored than was printed when the kill came.
  EXPECT_GE(summary.at("stored_before").get<int64_t>(), before);
  EXPECT_LE(summary.at("stored_before").get<int64_t>(), before + 1);
}

TEST_F(Submission, CtrlCKeepsWhatIsStored) {
  std::string rows;
  for (int i = 1; i <= 200; ++i) {
    rows += R"({"definition":"rmsnorm_h64","workload":{"uuid":"w)" + std::to_string(i) +
            R"(","axes":{"batch_size":)" + std::to_string(i) + R"(},"inputs":{}}})" + "\n";
  }
  write("rows.jsonl", rows);
  const pid_t child = start(submit({"--json"}));
  for (int i = 0; i < 3000 && read("stdout").empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ::kill(child, SIGINT);
  const Finished stopped = finish(child);
  EXPECT_EQ(stopped.code, 130) << stopped.err;
  const auto lines = std::count(stopped.out.begin(), stopped.out.end(), '\n');
  EXPECT_LT(lines, 200);
  EXPECT_NE(stopped.out.find(R"("interrupted":true)"), std::string::npos);
}

}  // namespace
}  // namespace fib::testing
