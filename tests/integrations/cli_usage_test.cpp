// Help, exit codes, and errors that name the place and the remedy. Nothing is measured here.

#include <bit>
#include <cmath>
#include <cstring>
#include <set>

#include "signatures/base/safetensors.h"
#include "tests/integrations/fib_process.h"

namespace fib::testing {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

#define EXPECT_HAS(text, part) \
  EXPECT_TRUE(contains(text, part)) << "'" << (part) << "' in:\n" << text

TEST_F(FibUser, HelpOfEveryCommandHasAnExample) {
  const std::vector<std::vector<std::string>> commands = {
      {},
      {"submit"},
      {"run"},
      {"board"},
      {"show"},
      {"signature"},
      {"signature", "list"},
      {"signature", "show"},
      {"signature", "validate"},
      {"workload"},
      {"workload", "list"},
      {"workload", "show"},
      {"workload", "values"},
      {"workload", "validate"},
      {"solution"},
      {"solution", "list"},
      {"solution", "show"},
      {"solution", "validate"},
      {"solution", "new"},
      {"solution", "pack"},
      {"solution", "unpack"},
      {"import"},
      {"export"},
      {"cache"},
      {"cache", "info"},
      {"cache", "clear"},
      {"cache", "trim"},
      {"replay"},
      {"capture"},
      {"doctor"},
      {"mcp"},
      {"agent", "tune-replay"},
  };
  for (std::vector<std::string> command : commands) {
    std::string example = "\n  fib";
    for (const std::string& word : command) example += " " + word;
    command.push_back("--help");
    const Finished finished = fib(command);
    EXPECT_EQ(finished.code, 0) << example;
    EXPECT_HAS(finished.out, example);
    EXPECT_EQ(finished.err, "");
  }
}

TEST_F(FibUser, UsageErrorsExitWithTwo) {
  EXPECT_EQ(fib({}).code, 2);
  const Finished unknown = fib({"sumbit", "mine"});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_HAS(unknown.err, "there is no command 'fib sumbit'");
  EXPECT_HAS(unknown.err, "did you mean 'fib submit'?");
  const Finished part = fib({"workload", "frobnicate"});
  EXPECT_EQ(part.code, 2);
  EXPECT_HAS(part.err, "there is no command 'fib workload frobnicate'");
  EXPECT_HAS(part.err, "'fib workload --help' lists them");
  EXPECT_EQ(fib({"submit"}).code, 2);
  EXPECT_EQ(fib({"show", "-3"}).code, 2);
  EXPECT_EQ(fib({"solution", "new", "x", "--signature", "rmsnorm_h64", "--target", "tpu"}).code, 2);
  EXPECT_EQ(fib({"board", "--color", "purple"}).code, 2);
  EXPECT_EQ(fib({"--version"}).code, 0);
}

TEST_F(FibUser, ListsAndShowsSignatures) {
  const Json list = fib_json({"signature", "list", "--op-type", "rmsnorm"});
  ASSERT_FALSE(list.at("signatures").empty());
  for (const Json& entry : list.at("signatures")) EXPECT_EQ(entry.at("op_type"), "rmsnorm");
  EXPECT_HAS(fib({"signature", "list"}).out, "rmsnorm_h4096");

  const Finished shown = fib({"signature", "show", "rmsnorm_h1234"});
  EXPECT_EQ(shown.code, 0) << "an instance that no file lists: " << shown.err;
  EXPECT_HAS(shown.out, "hidden_states");
  EXPECT_HAS(shown.out, "bfloat16");
  EXPECT_HAS(shown.out, "an honest implementation's");
  EXPECT_EQ(fib_json({"signature", "show", "rmsnorm_h4096"}).at("name"), "rmsnorm_h4096");
}

TEST_F(FibUser, UnknownSignatureNamesTheNearest) {
  const Finished finished = fib({"signature", "show", "rmsnorm_4096"});
  EXPECT_EQ(finished.code, 2);
  EXPECT_HAS(finished.err, "rmsnorm_4096");
  EXPECT_HAS(finished.err, "rmsnorm_h4096");
}

TEST_F(FibUser, ErrorsAreJsonWhenAskedFor) {
  const Json document = fib_json({"signature", "show", "nonsense"}, 2);
  EXPECT_EQ(document.at("error").at("code"), "not-found");
  EXPECT_NE(document.at("error").at("message"), "");
}

TEST_F(FibUser, BrokenDefinitionIsLocated) {
  write("bad.json", R"({"name": "x", "op_type": "y", "axes": {"M": {"type": "vary"}}})");
  const Finished finished = fib({"signature", "validate", "bad.json"});
  EXPECT_EQ(finished.code, 2);
  EXPECT_HAS(finished.err, "bad.json");
  EXPECT_HAS(finished.err, "/axes/M");
  write("cut.json", R"({"name": "x", )");
  EXPECT_HAS(fib({"signature", "validate", "cut.json"}).err, "cut.json:1:15: ");
  EXPECT_HAS(fib({"signature", "validate", "nowhere.json"}).err, "nowhere.json");
}

TEST_F(FibUser, ColdIsWhatRanksAndCannotBeLeftOut) {
  const std::string solution = FIB_SOURCE_DIR "/leaderboard/solutions/cpu/rmsnorm/rmsnorm-plain";
  const Finished warm = fib({"submit", solution, "--signature", "rmsnorm_h64", "--modes", "warm"});
  EXPECT_EQ(warm.code, 2);
  EXPECT_HAS(warm.err, "--modes");
  EXPECT_HAS(warm.err, "cold,warm");
}

TEST_F(FibUser, ADatasetOfWorkloadsBringsItsOwnDefinitions) {
  write("data/definitions/scale/scale_n8.json", R"({
    "name": "scale_n8", "op_type": "scale",
    "axes": {"M": {"type": "var"}, "N": {"type": "const", "value": 8}},
    "inputs": {"x": {"shape": ["M", "N"], "dtype": "float16"}},
    "outputs": {"y": {"shape": ["M", "N"], "dtype": "float16"}},
    "reference": "def run(x):\n    return 2 * x\n"})");
  write("data/workloads/scale/scale_n8.jsonl",
        R"({"definition": "scale_n8", "solution": null, "evaluation": null, "workload":)"
        R"( {"uuid": "one", "axes": {"M": 3}, "inputs": {"x": {"type": "random"}}}})"
        "\n");
  const Finished validated = fib({"workload", "validate", "data"});
  EXPECT_EQ(validated.code, 0) << validated.err;
  EXPECT_HAS(validated.out, "1 workload valid, 0 errors");
}

TEST_F(FibUser, WorkloadsOfASignature) {
  const Json list = fib_json({"workload", "list", "rmsnorm_h4096", "--limit", "2"});
  ASSERT_EQ(list.at("workloads").size(), 2u);
  const std::string id = list.at("workloads").at(0).at("workload");
  EXPECT_TRUE(list.at("workloads").at(0).at("axes").contains("batch_size"));
  const Finished shown = fib({"workload", "show", "rmsnorm_h4096", id});
  EXPECT_EQ(shown.code, 0) << shown.err;
  EXPECT_HAS(shown.out, "hidden_states");
  const Finished missing = fib({"workload", "show", "rmsnorm_h4096", "no-such"});
  EXPECT_EQ(missing.code, 2);
  EXPECT_HAS(missing.err, "'no-such'");
  EXPECT_HAS(missing.err, "fib workload list rmsnorm_h4096");
}

TEST_F(FibUser, ValuesOfAWorkloadAreWrittenForOtherTools) {
  const std::vector<std::string> values = {"workload", "values", "rmsnorm_h64", "rmsnorm_h64-b1",
                                           "--out"};
  const auto written = [&](const std::string& file, const std::string& seed) {
    std::vector<std::string> arguments = values;
    arguments.insert(arguments.end(), {file, "--seed", seed});
    const Json document = fib_json(arguments);
    EXPECT_EQ(document.at("tensors"), 3);
    EXPECT_EQ(document.at("size_bytes"), 2 * 64 * 2 + 64 * 4);
    return read(file);
  };
  const std::string content = written("a.safetensors", "7");
  EXPECT_EQ(written("b.safetensors", "7"), content) << "the seed says it all";
  EXPECT_NE(written("c.safetensors", "8"), content);

  const auto file = SafetensorsFile::open(folder_ / "a.safetensors");
  ASSERT_TRUE(file) << file.error().to_string();
  EXPECT_EQ(file->metadata().at("signature"), "rmsnorm_h64");
  EXPECT_EQ(file->metadata().at("workload"), "rmsnorm_h64-b1");
  EXPECT_EQ(file->metadata().at("seed"), "7");
  EXPECT_EQ(file->metadata().at("axis.batch_size"), "1");
  const StoredTensor input = file->tensor("input.hidden_states").value();
  EXPECT_EQ(input.dtype, DType::kBFloat16);
  const StoredTensor weight = file->tensor("input.weight").value();
  const StoredTensor expected = file->tensor("expected.output").value();
  EXPECT_EQ(expected.dtype, DType::kFloat32);
  EXPECT_EQ(expected.shape, (std::vector<int64_t>{1, 64}));
  // The norm by hand.
  std::vector<float> x(64), w(64), y(64);
  for (size_t i = 0; i < 64; ++i) {
    const auto widened = [&](const StoredTensor& tensor) {
      uint16_t bits = 0;
      std::memcpy(&bits, tensor.data.data() + 2 * i, 2);
      return std::bit_cast<float>(uint32_t{bits} << 16);
    };
    x[i] = widened(input);
    w[i] = widened(weight);
    std::memcpy(&y[i], expected.data.data() + 4 * i, 4);
  }
  double sum = 0.0;
  for (float value : x) sum += double{value} * value;
  const double scale = 1.0 / std::sqrt(sum / 64.0 + 1e-6);
  for (size_t i = 0; i < 64; ++i) EXPECT_NEAR(y[i], x[i] * scale * w[i], 1e-6);
}

TEST_F(FibUser, HostScalarsOfAWorkloadAreMetadata) {
  const std::string signature = "gqa_paged_decode_h4_kv2_d64_ps1";
  const Json list = fib_json({"workload", "list", signature, "--limit", "1"});
  const std::string id = list.at("workloads").at(0).at("workload");
  ASSERT_EQ(fib({"workload", "values", signature, id, "-o", "gqa.safetensors"}).code, 0);
  const auto file = SafetensorsFile::open(folder_ / "gqa.safetensors");
  ASSERT_TRUE(file) << file.error().to_string();
  EXPECT_EQ(file->metadata().at("input.sm_scale"), "0.125");
  EXPECT_TRUE(file->tensor("expected.lse"));
}

TEST_F(FibUser, ValuesThatCantBeWrittenAreSaid) {
  const std::string large = "moe_int4_g32_topk8_e384_h7168_i2048";
  const Finished refused =
      fib({"workload", "values", large, large + "-t1", "--out", "large.safetensors"});
  EXPECT_EQ(refused.code, 2);
  EXPECT_HAS(refused.err, large + " num_tokens=1: its values take 8.86 GiB");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "large.safetensors"));
  const Finished nowhere =
      fib({"workload", "values", "rmsnorm_h64", "rmsnorm_h64-b1", "--out", "no/such/folder"});
  EXPECT_EQ(nowhere.code, 3);
  EXPECT_HAS(nowhere.err, "no/such/folder");
}

TEST_F(FibUser, BrokenWorkloadRowsAreLocated) {
  write(
      "rows.jsonl",
      R"({"definition":"rmsnorm_h64","workload":{"uuid":"a","axes":{"batch_size":3},"inputs":{}}})"
      "\n"
      R"({"definition":"rmsnorm_h64","workload":{"uuid":"b","axes":{"rows":3},"inputs":{}}})"
      "\n");
  const Finished finished = fib({"workload", "validate", "rows.jsonl"});
  EXPECT_EQ(finished.code, 2);
  EXPECT_HAS(finished.out, "1 workload valid, 1 error");
  EXPECT_HAS(finished.err, "rows.jsonl:2");
  EXPECT_HAS(finished.err, "rows");
}

TEST_F(FibUser, BrokenSolutionsAreLocated) {
  write("mine/solution.json", R"({"name": "mine", "signature": "rmsnorm", "author": "me",
    "target": "cpu", "entri": "a.cpp", "sources": ["a.cpp"]})");
  write("mine/a.cpp", "");
  const Finished finished = fib({"solution", "validate", "mine"});
  EXPECT_EQ(finished.code, 2);
  EXPECT_HAS(finished.err, "mine/solution.json");
  EXPECT_HAS(finished.err, "entri");
  EXPECT_HAS(finished.err, "entry");
  EXPECT_EQ(fib({"submit", "mine"}).code, 2);
  const Finished nowhere = fib({"submit", "nowhere"});
  EXPECT_EQ(nowhere.code, 2);
  EXPECT_HAS(nowhere.err, "nowhere");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "fib.db")) << "nothing to store, no store";
}

TEST_F(FibUser, OptionsOfAMeasurementAreChecked) {
  const Finished modes = fib({"submit", "x", "--modes", "cold,lukewarm"});
  EXPECT_EQ(modes.code, 2);
  EXPECT_HAS(modes.err, "--modes: there is no timing mode 'lukewarm'");
  for (const char* range : {"20", "0:5", "9:3", "3:9x"}) {
    const Finished samples = fib({"submit", "x", "--samples", range});
    EXPECT_EQ(samples.code, 2) << range;
    EXPECT_HAS(samples.err, "MIN:MAX");
  }
}

TEST_F(FibUser, HomeThatIsNoneIsSaid) {
  const Finished finished = fib({"signature", "list", "--home", "."});
  EXPECT_EQ(finished.code, 2);
  EXPECT_HAS(finished.err, "no signatures/definitions in there");
}

TEST_F(FibUser, StoreThatIsNoneIsSaid) {
  write("fib.db", std::string(300, 'x'));
  const Finished finished = fib({"board"});
  EXPECT_EQ(finished.code, 2);
  EXPECT_HAS(finished.err, "fib.db");
  EXPECT_HAS(finished.err, "not an SQLite database");
  std::filesystem::create_directory(folder_ / "folder.db");
  environment_ = {"FIB_STORE=folder.db"};
  const Finished folder = fib({"board"});
  EXPECT_EQ(folder.code, 3);
  EXPECT_HAS(folder.err, "folder.db: the store can't be opened");
  std::filesystem::create_directories(folder_ / "dataset/definitions");
  environment_ = {"FIB_STORE=/proc/nowhere.db"};
  const Finished unwritable = fib({"import", "dataset"});
  EXPECT_EQ(unwritable.code, 3);
  EXPECT_HAS(unwritable.err, "/proc/nowhere.db: the store can't be opened or created");
}

TEST_F(FibUser, EmptyStoreSaysSo) {
  const Finished finished = fib({"board"});
  EXPECT_EQ(finished.code, 0);
  EXPECT_EQ(finished.out, "no verdicts in fib.db; 'fib submit' makes some\n");
  EXPECT_EQ(fib_json({"board"}), Json({{"boards", Json::array()}}));
  const Finished shown = fib({"show"});
  EXPECT_EQ(shown.code, 2);
  EXPECT_HAS(shown.err, "fib.db: there is no store");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "fib.db")) << "looking makes no file";
  EXPECT_EQ(fib({"export", "out"}).code, 2);
}

TEST_F(FibUser, NoColorsInAPipe) {
  environment_ = {"TERM=xterm-256color"};
  EXPECT_FALSE(contains(fib({"signature", "list"}).out, "\x1b["));
  EXPECT_TRUE(contains(fib({"signature", "list", "--color", "always"}).out, "\x1b["));
}

TEST_F(FibUser, CacheIsCountedClearedAndTrimmed) {
  write("cache/builds/one/a.so", std::string(1000, 'a'));
  write("cache/expected/b", std::string(500, 'b'));
  const Json info = fib_json({"cache", "info", "--cache", "cache"});
  EXPECT_EQ(info.at("parts").at(0).at("size_bytes"), 1000);
  EXPECT_EQ(fib_json({"cache", "trim", "1G", "--cache", "cache"}).at("freed_bytes"), 0);
  EXPECT_EQ(fib_json({"cache", "clear", "--cache", "cache"}).at("freed_bytes"), 1500);
  EXPECT_EQ(fib({"cache", "trim", "much"}).code, 2);
}

TEST_F(FibUser, DoctorSaysWhatWorks) {
  const Json document = fib_json({"doctor"});
  std::set<std::string> topics;
  for (const Json& finding : document.at("findings")) {
    topics.insert(finding.at("topic"));
    if (finding.at("ok") == false) {
      EXPECT_NE(finding.at("detail"), "") << finding.dump();
      EXPECT_NE(finding.at("remedy"), "") << finding.dump();
    }
  }
  for (const char* topic : {"target", "cuda", "sandbox", "system", "store"}) {
    EXPECT_TRUE(topics.contains(topic)) << topic;
  }
}

}  // namespace
}  // namespace fib::testing
