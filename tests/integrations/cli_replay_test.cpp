// fib replay and fib capture as a user has them: the bundled model on the CPU.

#include <fstream>

#include "tests/integrations/fib_process.h"

namespace fib::testing {
namespace {

class ReplayUser : public FibUser {
 protected:
  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
  }
  void write_trace() {
    std::string text = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
    for (int i = 0; i < 6; ++i) text += "2023-11-16 18:17:03.5,80,6\n";
    write("trace.csv", text);
  }
};

TEST_F(ReplayUser, WhatIsWrongIsSaidBeforeAModelIsLoaded) {
  write_trace();
  const auto expect = [&](const std::vector<std::string>& arguments, int code,
                          const std::string& part) {
    const Finished finished = fib(arguments);
    EXPECT_EQ(finished.code, code) << finished.err;
    EXPECT_NE(finished.err.find(part), std::string::npos) << part << "\n" << finished.err;
  };
  expect({"replay"}, 2, "--trace");
  expect({"replay", "--trace", "trace.csv"}, 2, "--format");
  expect({"capture", "--trace", "trace.csv", "--format", "azure"}, 2, "--capture");
  expect({"replay", "--trace", "trace.csv", "--format", "vidur"}, 2, "num_prefill_tokens");
  expect({"replay", "--trace", "trace.csv", "--format", "mooncake"}, 2, "trace.csv:1");
  expect(
      {"replay", "--trace", "trace.csv", "--format", "azure", "--rate", "2", "--rate-scale", "2"},
      2, "--rate");
  expect({"replay", "--trace", "trace.csv", "--format", "mooncake"}, 2, "another format's");
  for (const auto& [option, value] :
       {std::pair{"--requests", "0"}, {"--warm-up", "-1"}, {"--first", "-1"}, {"--seed", "-1"},
        {"--slo-ttft", "-1"}, {"--slo-tbt", "nan"}, {"--temperature", "nan"}, {"--rate", "0"},
        {"--rate-scale", "inf"}, {"--scale-lengths", "0"}}) {
    expect({"replay", "--trace", "trace.csv", "--format", "azure", option, value}, 2, option);
  }
  write("bad.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,x,1\n");
  expect({"replay", "--trace", "bad.csv", "--format", "azure"}, 2, "bad.csv:2: ContextTokens");
  const std::vector<std::string> azure = {"replay", "--trace", "trace.csv", "--format", "azure"};
  std::vector<std::string> there = azure;
  there.insert(there.end(), {"--endpoint", "https://localhost"});
  expect(there, 3, "https isn't spoken");
  there.back() = "http://localhost:1";
  expect(there, 3, "doesn't answer");
  there.insert(there.end(), {"--capture", "here"});
  expect(there, 2, "--capture");
}

TEST_F(ReplayUser, ReplaysAndCaptures) {
  write_trace();
  write("corpus.txt",
        "Once upon a time there was a kernel that ran as fast as the memory let it. ");
  const Finished finished = fib({"capture", "--trace", "trace.csv", "--format", "azure",
                                 "--warm-up", "2", "--corpus", "corpus.txt", "--kv-cache", "16M",
                                 "--capture", "traffic", "--plot", "plot.svg", "--json"});
  ASSERT_EQ(finished.code, 0) << finished.err;
  EXPECT_NE(finished.err.find("captured"), std::string::npos) << finished.err;
  const Json report = Json::parse(finished.out);
  EXPECT_EQ(report["requests"]["finished"], 4);
  EXPECT_EQ(report["output_tokens"], 24);
  EXPECT_EQ(report["input_tokens"], 320);
  EXPECT_GT(report["engine"]["experts"]["bytes"], 0.0);
  // How it came about, so that the figures can be had again.
  EXPECT_EQ(report["seed"], 1);
  EXPECT_EQ(report["temperature"], 0.0);
  EXPECT_EQ(report["corpus"], "corpus.txt");
  EXPECT_TRUE(report["endpoint"].is_null());
  EXPECT_EQ(report["serving"]["target"], "cpu");
  EXPECT_GT(report["serving"]["threads"], 0);
  EXPECT_EQ(report["serving"]["prefill"], "chunked");
  EXPECT_EQ(report["serving"]["chunk_tokens"], 512);
  EXPECT_EQ(report["serving"]["kernels"], "default");
  EXPECT_TRUE(std::filesystem::exists(folder_ / "plot.svg"));

  const Finished validated = fib({"workload", "validate", "traffic"});
  EXPECT_EQ(validated.code, 0) << validated.out << validated.err;
  const Finished again = fib({"capture", "--trace", "trace.csv", "--format", "azure", "--kv-cache",
                              "16M", "--capture", "traffic"});
  EXPECT_EQ(again.code, 3) << again.err;
  EXPECT_NE(again.err.find("already"), std::string::npos) << again.err;
}

}  // namespace
}  // namespace fib::testing
