#include "signatures/trace.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <cmath>
#include <functional>

#include "tests/signatures/helpers.h"

namespace fib {
namespace {

constexpr auto kStrict = Strictness::kStrict;
constexpr auto kTolerant = Strictness::kTolerant;

Json passed() { return fixture("trace_passed.json"); }

Result<Trace> read_broken(const std::function<void(Json&)>& change, Strictness strictness = kStrict) {
  Json json = passed();
  change(json);
  return trace_from_json(json, "t.jsonl:4", strictness);
}

TEST(Trace, ReadsEverything) {
  const auto trace = trace_from_json(passed(), "t.jsonl:4", kStrict);
  ASSERT_TRUE(trace) << trace.error().to_string();
  EXPECT_EQ(trace->definition, "gemm_n8_k8");
  EXPECT_EQ(trace->solution, "fast");
  EXPECT_EQ(trace->workload.axis("M"), 3);
  EXPECT_EQ(trace->workload.axis("Q"), std::nullopt);
  EXPECT_EQ(trace->workload.where, "t.jsonl:4");
  EXPECT_EQ(trace->workload.weight, 12.5);
  EXPECT_EQ(workload_id(trace->workload), "w1");
  ASSERT_EQ(trace->workload.inputs.size(), 4u);
  EXPECT_TRUE(std::holds_alternative<RandomInput>(trace->workload.inputs[0].second));
  EXPECT_EQ(std::get<int64_t>(std::get<ScalarInput>(trace->workload.inputs[1].second).value), 3);
  EXPECT_EQ(std::get<double>(std::get<ScalarInput>(trace->workload.inputs[2].second).value), 0.5);
  EXPECT_EQ(std::get<SafetensorsInput>(trace->workload.inputs[3].second).tensor_key, "p");
  const Evaluation& evaluation = *trace->evaluation;
  EXPECT_EQ(evaluation.status, TraceStatus::kPassed);
  EXPECT_EQ(evaluation.hardware, "a card");
  EXPECT_EQ(evaluation.libs[0].first, "cuda");
  EXPECT_TRUE(std::isinf(evaluation.correctness->max_relative_error));
  EXPECT_EQ(evaluation.performance->latency_ms, 2.0);
}

TEST(Trace, WritesTheSameBytes) {
  const auto trace = trace_from_json(passed(), "t", kStrict);
  ASSERT_TRUE(trace);
  EXPECT_EQ(dump_json(trace_to_json(*trace)), dump_json(passed()));
  // From the fields alone: every field, nulls too.
  Trace bare;
  bare.definition = "d";
  bare.workload.uuid = "u";
  bare.workload.axes = {{"M", 1}};
  EXPECT_EQ(dump_json(trace_to_json(bare)),
            R"({"definition":"d","workload":{"axes":{"M":1},"inputs":{},"uuid":"u"},)"
            R"("solution":null,"evaluation":null})");
  bare.evaluation.emplace();
  bare.evaluation->correctness.emplace().max_absolute_error = std::nan("");
  bare.evaluation->performance.emplace();
  EXPECT_EQ(dump_json(trace_to_json(bare)["evaluation"]),
            R"({"status":"PASSED","environment":{"hardware":"","libs":{}},"timestamp":"",)"
            R"("log":"","correctness":{"max_relative_error":0.0,"max_absolute_error":"NaN",)"
            R"("extra":null},"performance":{"latency_ms":0.0,"reference_latency_ms":0.0,)"
            R"("speedup_factor":0.0}})");
}

TEST(Trace, NormalisesOldLines) {
  const Json old = Json::parse(
      R"({"definition": "d", "solution": "s", "workload": {"axes": {"M": 1}, "inputs":
      {"A": {}, "B": {"value": 2}, "C": {"path": "blob/x", "tensor_key": "c"}}}, "evaluation":
      {"status": "RUNTIME_ERROR", "log_file": "s.log", "environment": {"device": "old card"},
       "timestamp": "t"}, "note": 1})");
  const auto trace = trace_from_json(old, "t", kTolerant);
  ASSERT_TRUE(trace) << trace.error().to_string();
  EXPECT_EQ(trace->evaluation->hardware, "old card");
  const Json written = trace_to_json(*trace);
  EXPECT_EQ(written["note"], 1);
  EXPECT_EQ(written["evaluation"]["log_file"], "s.log");
  EXPECT_EQ(written["evaluation"]["environment"]["hardware"], "old card");
  EXPECT_FALSE(written["evaluation"]["environment"].contains("device"));
  EXPECT_EQ(written["workload"]["inputs"]["A"]["type"], "random");
  EXPECT_EQ(written["workload"]["inputs"]["B"]["type"], "scalar");
  EXPECT_EQ(written["workload"]["inputs"]["C"]["type"], "safetensors");
  EXPECT_EQ(written["workload"]["uuid"].get<std::string>().size(), 32u);

  const auto row = trace_from_json(
      Json::parse(R"({"definition":"d","solution":"","workload":{"axes":{"M":1}},"evaluation":{}})"),
      "t", kTolerant);
  ASSERT_TRUE(row) << row.error().to_string();
  EXPECT_FALSE(row->solution);
  EXPECT_FALSE(row->evaluation);
  EXPECT_TRUE(trace_to_json(*row)["evaluation"].is_null());
}

TEST(Trace, DerivesAStableIdFromTheContent) {
  Workload a, b;
  a.axes = {{"M", 1}, {"N", 2}};
  b.axes = {{"N", 2}, {"M", 1}};
  b.inputs = {{"A", RandomInput{}}};
  EXPECT_EQ(workload_id(a), workload_id(b));
  b.inputs = {{"s", ScalarInput{2.5}}};
  EXPECT_NE(workload_id(a), workload_id(b));
  a.inputs = {{"p", SafetensorsInput{"./x", "k"}}};
  b.inputs = {{"p", SafetensorsInput{"x", "k"}}};
  EXPECT_EQ(workload_id(a), workload_id(b));
  b.axes[0].second = 3;
  EXPECT_NE(workload_id(a), workload_id(b));
}

TEST(Trace, RefusesEachBrokenRuleByItsPlace) {
  struct Case {
    std::function<void(Json&)> change;
    std::vector<std::string_view> parts;
  };
  const Case cases[] = {
      {[](Json& j) { j["soluton"] = 1; }, {"t.jsonl:4", "soluton", "solution"}},
      {[](Json& j) { j.erase("definition"); }, {"definition"}},
      {[](Json& j) { j["workload"].erase("uuid"); }, {"/workload", "'uuid' is missing"}},
      {[](Json& j) { j["workload"].erase("axes"); }, {"/workload", "axes"}},
      {[](Json& j) { j["workload"]["axes"]["M"] = -3; },
       {"/workload/axes/M", "negative size -3"}},
      {[](Json& j) { j["workload"]["inputs"]["A"].erase("type"); },
       {"/workload/inputs/A", "'type' is missing"}},
      {[](Json& j) { j["workload"]["inputs"]["A"]["type"] = "zeros"; },
       {"/workload/inputs/A/type", "no input type 'zeros'"}},
      {[](Json& j) { j["workload"]["inputs"]["p"]["path"] = "../secret"; },
       {"/workload/inputs/p/path", "leaves the dataset"}},
      {[](Json& j) { j["workload"]["inputs"]["p"]["path"] = "/etc/passwd"; },
       {"/workload/inputs/p/path", "leaves the dataset"}},
      {[](Json& j) { j["workload"]["inputs"]["s"]["value"] = "x"; }, {"/workload/inputs/s/value"}},
      {[](Json& j) { j["workload"]["fib"]["weight"] = 0; },
       {"/workload/fib/weight", "above 0"}},
      {[](Json& j) { j["workload"]["fib"]["wieght"] = 1; },
       {"/workload/fib", "did you mean 'weight'?"}},
      {[](Json& j) { j["solution"] = ""; }, {"/solution", "the name is empty"}},
      {[](Json& j) { j["solution"] = nullptr; }, {"'solution' and 'evaluation' go together"}},
      {[](Json& j) { j["evaluation"]["status"] = "passed"; },
       {"/evaluation/status", "no status 'passed'", "INCORRECT_DTYPE"}},
      {[](Json& j) { j["evaluation"]["environment"].erase("hardware"); },
       {"/evaluation/environment", "hardware"}},
      {[](Json& j) { j["evaluation"]["performance"] = nullptr; },
       {"/evaluation", "PASSED needs 'performance'"}},
      {[](Json& j) { j["evaluation"]["correctness"] = nullptr; },
       {"/evaluation", "PASSED needs 'correctness'"}},
      {[](Json& j) { j["evaluation"]["status"] = "INCORRECT_NUMERICAL"; },
       {"/evaluation", "INCORRECT_NUMERICAL doesn't go with 'performance'"}},
      {[](Json& j) { j["evaluation"]["status"] = "TIMEOUT"; },
       {"/evaluation", "TIMEOUT doesn't go with 'correctness'"}},
      {[](Json& j) { j["evaluation"]["performance"]["latency_ms"] = -1; },
       {"/evaluation/performance/latency_ms", "below 0"}},
      {[](Json& j) { j["evaluation"]["correctness"]["max_relative_error"] = "big"; },
       {"/evaluation/correctness/max_relative_error"}},
  };
  for (const Case& test : cases) {
    const auto trace = read_broken(test.change);
    ASSERT_FALSE(trace) << test.parts[0];
    const std::string text = trace.error().to_string();
    for (const auto part : test.parts) {
      EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in: " << text;
    }
  }
  // The rules of status and results hold for foreign files too.
  EXPECT_FALSE(read_broken([](Json& j) { j["evaluation"]["performance"] = nullptr; }, kTolerant));
}

TEST(TraceFile, AppendsWholeLines) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "traces/me/t.jsonl";
  const Trace trace = *trace_from_json(passed(), "t", kStrict);
  ASSERT_TRUE(append_traces(file, {trace}));
  // Someone's editor dropped the last newline.
  std::string text = read_text(file);
  ASSERT_EQ(text.back(), '\n');
  text.pop_back();
  folder.write("traces/me/t.jsonl", text);
  ASSERT_TRUE(append_traces(file, {trace, trace}));
  EXPECT_EQ(read_text(file), text + "\n" + text + "\n" + text + "\n");
  const auto read = read_traces(file, kStrict);
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(read->size(), 3u);
  EXPECT_EQ((*read)[2].workload.where, file.string() + ":3");
  expect_error(append_traces(folder.path() / "traces", {trace}), {"traces", "can't be written"});
}

TEST(TraceFile, NamesTheLine) {
  const TemporaryFolder folder;
  const std::string line = dump_json(passed());
  folder.write("t.jsonl", line + "\r\n\n  \n" + line + "\n{\"definition\": 3}");
  expect_error(read_traces(folder.path() / "t.jsonl", kStrict), {"t.jsonl:5", "/definition"});
  folder.write("t.jsonl", line + "\n{\"definition\": ");
  expect_error(read_traces(folder.path() / "t.jsonl", kTolerant), {"t.jsonl:2"});
  expect_error(read_traces(folder.path() / "none.jsonl", kTolerant), {"none.jsonl"});
}

TEST(TraceFile, ReadsGzipAndRefusesHalfOfIt) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "t.jsonl.gz";
  const std::string text = dump_json(passed()) + "\n";
  gzFile packed = gzopen(file.c_str(), "wb");
  for (int i = 0; i < 100; ++i) gzwrite(packed, text.data(), static_cast<unsigned>(text.size()));
  gzclose(packed);
  const auto read = read_traces(file, kStrict);
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(read->size(), 100u);
  const std::string bytes = read_text(file);
  folder.write("t.jsonl.gz", bytes.substr(0, bytes.size() / 2));
  expect_error(read_traces(file, kTolerant), {"t.jsonl.gz", "not a whole gzip file"});
  expect_error(read_traces(folder.path() / "none.jsonl.gz", kTolerant), {"none.jsonl.gz"});
}

TEST(TraceStatusNames, RoundTrip) {
  for (const char* name : {"PASSED", "INCORRECT_SHAPE", "INCORRECT_NUMERICAL", "INCORRECT_DTYPE",
                           "RUNTIME_ERROR", "COMPILE_ERROR", "TIMEOUT"}) {
    const auto status = trace_status_from_name(name);
    ASSERT_TRUE(status) << name;
    EXPECT_EQ(trace_status_name(*status), name);
  }
  EXPECT_FALSE(trace_status_from_name("passed"));
}

}  // namespace
}  // namespace fib
