#include "signatures/signature.h"

#include <gtest/gtest.h>

#include <functional>

#include "tests/signatures/helpers.h"

namespace fib {
namespace {

constexpr auto kStrict = Strictness::kStrict;
constexpr auto kTolerant = Strictness::kTolerant;

// A correct definition of our own, to be broken one rule at a time.
Json own() { return fixture("own_scale.json"); }

Result<Signature> read_broken(const std::function<void(Json&)>& breakage,
                              Strictness strictness = kStrict) {
  Json json = own();
  breakage(json);
  return signature_from_json(json, "own.json", strictness);
}

TEST(Signature, ReadsOurOwn) {
  const auto read = signature_from_json(own(), "own.json", kStrict);
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(read->name, "scale_h8");
  EXPECT_EQ(read->op_type, "scale");
  EXPECT_EQ(read->tags, std::vector<std::string>{"model:none"});
  ASSERT_EQ(read->axes.size(), 3u);
  EXPECT_EQ(read->find_axis("h")->value, 8);
  EXPECT_EQ(read->find_axis("n")->kind, Axis::Kind::kVar);
  EXPECT_EQ(read->inputs[0].name, "x");  // file order is the calling convention
  EXPECT_EQ(read->inputs[1].name, "ids");
  EXPECT_EQ(read->inputs[2].name, "factor");
  EXPECT_FALSE(read->find_input("factor")->shape);
  EXPECT_EQ(read->find_output("y")->dtype, DType::kBFloat16);
  EXPECT_TRUE(read->has_fib_key);
  EXPECT_TRUE(read->is_weight("x"));
  EXPECT_TRUE(read->is_host_visible("ids"));
  EXPECT_EQ(read->parameter("eps", 0), 1e-6);
  EXPECT_EQ(read->parameter("other", 3), 3);
  const Distribution& x = read->fib.distributions.at("x");
  EXPECT_EQ(x.kind, Distribution::Kind::kUniform);
  EXPECT_DOUBLE_EQ(x.a, -0.25);
  EXPECT_DOUBLE_EQ(x.b, 4.0);  // sqrt(2 * h)
  EXPECT_EQ(read->fib.synthesis.at("ids").kind, Synthesis::Kind::kSlots);
  EXPECT_EQ(read->fib.tolerances.at("y").honest_factor, 2.0);
  EXPECT_EQ(read->fib.cost.math, "fp32");
}

TEST(Signature, WritesWhatItRead) {
  const auto read = signature_from_json(own(), "own.json", kStrict);
  ASSERT_TRUE(read);
  EXPECT_EQ(dump_json(signature_to_json(*read)), dump_json(own()));
  // Without the original, from the fields alone.
  Signature bare = *read;
  bare.original = Json();
  const auto again = signature_from_json(signature_to_json(bare), "again", kStrict);
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ(extension_to_json(again->fib), extension_to_json(read->fib));
  EXPECT_EQ(again->description, read->description);
}

TEST(Signature, ReadsDrawsWhatComesInPlaceAndCapacities) {
  const auto read = read_broken([](Json& j) {
    j["inputs"]["y_before"] = j["outputs"]["y"];
    j["outputs"]["drawn"] = {{"shape", {"n"}}, {"dtype", "int32"}};
    j["fib"]["tolerances"]["drawn"] = {
        {"judged_by", "distribution"}, {"slack", 0.01}, {"reason", "r"}};
    j["fib"]["in_place"]["y"] = "y_before";
    j["fib"]["synthesis"]["factor"] = {{"kind", "choice"}, {"values", {0.5, 2}}};
    j["fib"]["capacity_axes"] = {"n"};
  });
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(read->fib.tolerances.at("y").rule, Tolerance::Rule::kElements);
  EXPECT_EQ(read->fib.tolerances.at("drawn").rule, Tolerance::Rule::kDistribution);
  EXPECT_EQ(read->fib.tolerances.at("drawn").slack, 0.01);
  EXPECT_EQ(read->fib.in_place.at("y"), "y_before");
  EXPECT_EQ(read->fib.synthesis.at("factor").values, (std::vector<double>{0.5, 2.0}));
  EXPECT_TRUE(read->is_capacity("n"));
  EXPECT_FALSE(read->is_capacity("m"));

  Signature bare = *read;
  bare.original = Json();
  const auto again = signature_from_json(signature_to_json(bare), "again", kStrict);
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ(extension_to_json(again->fib), extension_to_json(read->fib));
}

TEST(Signature, RefusesEachBrokenRuleByItsPlace) {
  struct Case {
    std::function<void(Json&)> breakage;
    std::vector<std::string_view> parts;
  };
  const Case cases[] = {
      {[](Json& j) { j["nmae"] = "x"; }, {"own.json", "nmae", "did you mean 'name'?"}},
      {[](Json& j) { j["name"] = ""; }, {"/name"}},
      {[](Json& j) { j["name"] = "a/b"; }, {"/name", "can't be a file name"}},
      {[](Json& j) { j.erase("name"); }, {"name"}},
      {[](Json& j) { j["op_type"] = ""; }, {"/op_type"}},
      {[](Json& j) { j["axes"]["h"]["value"] = -1; }, {"/axes/h/value", "negative size -1"}},
      {[](Json& j) { j["axes"]["h"]["value"] = 8.5; }, {"/axes/h/value"}},
      {[](Json& j) { j["axes"]["h"].erase("value"); }, {"/axes/h", "value"}},
      {[](Json& j) { j["axes"]["h"]["type"] = "fixed"; },
       {"/axes/h/type", "axis type 'fixed'", "\"const\" or \"var\""}},
      {[](Json& j) { j["axes"]["n"]["value"] = 3; },
       {"/axes/n/value", "a var axis has no value"}},
      {[](Json& j) { j["axes"]["a-b"] = {{"type", "var"}}; },
       {"/axes/a-b", "is not an identifier"}},
      {[](Json& j) { j["inputs"]["x"]["dtype"] = "bfloat61"; },
       {"/inputs/x/dtype", "no dtype 'bfloat61'", "did you mean 'bfloat16'?"}},
      {[](Json& j) { j["inputs"]["x"].erase("shape"); },
       {"/inputs/x", "'shape' is missing", "null for a host scalar"}},
      {[](Json& j) { j["inputs"]["x"]["shape"][1] = "hh"; },
       {"/inputs/x/shape/1", "axis 'hh' is not declared"}},
      {[](Json& j) { j["inputs"]["x"]["typ"] = 1; }, {"/inputs/x", "typ"}},
      {[](Json& j) { j["outputs"]["x"] = j["outputs"]["y"]; },
       {"/outputs/x", "'x' is an input and an output"}},
      {[](Json& j) { j["outputs"] = Json::object(); }, {"/outputs", "no outputs"}},
      {[](Json& j) { j["outputs"]["y"]["shape"] = nullptr; },
       {"/outputs/y", "can't be a host scalar"}},
      {[](Json& j) { j["reference"] = "  def run(x):\n    pass\n"; },
       {"/reference", "no top-level function `run`"}},
      {[](Json& j) { j["reference"] = "def running(x):\n    pass\n"; }, {"/reference"}},
      {[](Json& j) { j["constraints"].push_back("n =< 3"); },
       {"/constraints/1", "column 3"}},
      {[](Json& j) { j["constraints"].push_back("m == 3"); },
       {"/constraints/1", "'m' is neither an axis nor an input"}},
      {[](Json& j) { j["constraints"].push_back("h == 9"); },
       {"/constraints/1", "'h == 9' is false for these axes"}},
      {[](Json& j) { j["fib"]["weigths"] = Json::array(); },
       {"/fib", "weigths", "did you mean 'weights'?"}},
      {[](Json& j) { j["fib"]["weights"] = {"w"}; }, {"/fib/weights/0", "no input 'w'"}},
      {[](Json& j) { j["fib"]["weights"] = {"x", "x"}; }, {"/fib/weights/1", "twice"}},
      {[](Json& j) { j["fib"]["host_visible"] = {"x"}; },
       {"/fib/host_visible", "'x' is not an integer input"}},
      {[](Json& j) { j["fib"]["capacity_axes"] = {"m"}; },
       {"/fib/capacity_axes/0", "no axis 'm'"}},
      {[](Json& j) { j["fib"]["capacity_axes"] = {"h"}; },
       {"/fib/capacity_axes/0", "'h' doesn't vary"}},
      {[](Json& j) { j["fib"]["capacity_axes"] = {"n", "n"}; },
       {"/fib/capacity_axes/1", "twice"}},
      {[](Json& j) { j["fib"]["parameters"]["eps"] = "small"; }, {"/fib/parameters/eps"}},
      {[](Json& j) { j["fib"]["distributions"]["x"]["kind"] = "gauss"; },
       {"/fib/distributions/x/kind", "no distribution 'gauss'", "uniform_int"}},
      {[](Json& j) { j["fib"]["distributions"]["x"]["high"] = "sqrt(n)"; },
       {"/fib/distributions/x/high", "'n' is neither", "const axes and parameters"}},
      {[](Json& j) { j["fib"]["distributions"]["x"]["high"] = -1; },
       {"/fib/distributions/x", "'low' is above 'high'"}},
      {[](Json& j) { j["fib"]["distributions"]["ids"] = j["fib"]["distributions"]["x"]; },
       {"/fib/distributions/ids/kind", "'uniform' doesn't fit int32 values"}},
      {[](Json& j) {
         j["fib"]["distributions"]["x"] = {{"kind", "normal"}, {"mean", 0}, {"deviation", -1}};
       },
       {"/fib/distributions/x", "the deviation is negative"}},
      {[](Json& j) { j["fib"]["synthesis"]["ids"]["kind"] = "magic"; },
       {"/fib/synthesis/ids/kind", "no synthesis 'magic'", "page_table"}},
      {[](Json& j) { j["fib"]["synthesis"]["ids"]["limit"] = "q + 1"; },
       {"/fib/synthesis/ids/limit", "'q' is neither an axis nor an input"}},
      {[](Json& j) { j["fib"]["synthesis"]["ids"] = {{"kind", "indptr"}, {"total", "q"}}; },
       {"/fib/synthesis/ids/total", "no axis 'q'"}},
      {[](Json& j) { j["fib"]["tolerances"].erase("y"); },
       {"/fib/tolerances", "output 'y' has no tolerance"}},
      {[](Json& j) { j["fib"]["tolerances"]["z"] = j["fib"]["tolerances"]["y"]; },
       {"/fib/tolerances/z", "no output 'z'"}},
      {[](Json& j) { j["fib"]["tolerances"]["y"]["honest_factor"] = 0.5; },
       {"/fib/tolerances/y/honest_factor", "below 1"}},
      {[](Json& j) { j["fib"]["tolerances"]["y"]["max_error_rms"] = 0; },
       {"/fib/tolerances/y/max_error_rms", "above 0"}},
      {[](Json& j) { j["fib"]["tolerances"]["y"]["reason"] = ""; },
       {"/fib/tolerances/y/reason"}},
      {[](Json& j) { j["fib"]["tolerances"]["y"]["judged_by"] = "luck"; },
       {"/fib/tolerances/y", "honest_factor"}},
      {[](Json& j) {
         j["fib"]["tolerances"]["y"] = {{"judged_by", "luck"}, {"slack", 0}, {"reason", "r"}};
       },
       {"/fib/tolerances/y/judged_by", "no rule 'luck'", "\"distribution\""}},
      {[](Json& j) {
         j["fib"]["tolerances"]["y"] = {
             {"judged_by", "distribution"}, {"slack", 0}, {"reason", "r"}};
       },
       {"/fib/tolerances/y/judged_by", "bfloat16 values can't be judged as draws"}},
      {[](Json& j) {
         j["outputs"]["y"]["dtype"] = "int32";
         j["fib"]["tolerances"]["y"] = {
             {"judged_by", "distribution"}, {"slack", 1}, {"reason", "r"}};
       },
       {"/fib/tolerances/y/slack", "below 1"}},
      {[](Json& j) { j["fib"]["in_place"]["z"] = "x"; }, {"/fib/in_place/z", "no output 'z'"}},
      {[](Json& j) { j["fib"]["in_place"]["y"] = "z"; }, {"/fib/in_place/y", "no input 'z'"}},
      {[](Json& j) { j["fib"]["in_place"]["y"] = "ids"; },
       {"/fib/in_place/y", "'y' and 'ids' differ in shape or dtype"}},
      {[](Json& j) { j["fib"]["in_place"]["y"] = "factor"; },
       {"/fib/in_place/y", "differ in shape or dtype"}},
      {[](Json& j) {
         j["outputs"]["y"]["shape"] = {"pool", "h"};
         j["outputs"]["z"] = j["outputs"]["y"];
         j["fib"]["tolerances"]["z"] = j["fib"]["tolerances"]["y"];
         j["fib"]["in_place"] = {{"y", "x"}, {"z", "x"}};
       },
       {"/fib/in_place/z", "'y' already lies in the place of 'x'"}},
      {[](Json& j) { j["fib"]["synthesis"]["ids"] = {{"kind", "choice"}, {"values", {1, 2.5}}}; },
       {"/fib/synthesis/ids/values/1", "2.5 doesn't fit int32 values"}},
      {[](Json& j) {
         j["fib"]["synthesis"]["ids"] = {{"kind", "choice"}, {"values", Json::array()}};
       },
       {"/fib/synthesis/ids/values", "nothing to choose from"}},
      {[](Json& j) { j["fib"]["cost"]["bytes"] = "2 *"; }, {"/fib/cost/bytes", "column 4"}},
      {[](Json& j) { j["fib"]["cost"]["flops"] = "2 * q"; }, {"/fib/cost/flops", "'q'"}},
      {[](Json& j) { j["fib"]["cost"]["math"] = "fp4"; }, {"/fib/cost/math", "no unit 'fp4'"}},
      {[](Json& j) { j["fib"].erase("cost"); }, {"/fib", "cost"}},
  };
  for (const Case& test : cases) {
    const auto read = read_broken(test.breakage);
    ASSERT_FALSE(read) << test.parts[0];
    const std::string text = read.error().to_string();
    for (const auto part : test.parts) {
      EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in: " << text;
    }
  }
}

TEST(Signature, ReadsTheOldestFilesTolerantly) {
  const auto read = signature_from_json(fixture("foreign_old.json"), "old.json", kTolerant);
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(read->op_type, "gemm");
  EXPECT_EQ(read->find_axis("M")->kind, Axis::Kind::kVar);
  EXPECT_EQ(read->find_axis("N")->value, 4);
  EXPECT_EQ(read->find_axis("K")->value, 8);
  EXPECT_EQ(read->find_axis("L")->value, 16);
  EXPECT_EQ(read->find_axis("P")->parent, "M");
  EXPECT_EQ(read->fib.reference, "gemm");
  EXPECT_EQ(read->fib.weights, std::vector<std::string>{"B"});
  EXPECT_EQ(read->fib.cost.flops, "2 * M * N * K");

  const Json written = signature_to_json(*read);
  EXPECT_EQ(written["op_type"], "gemm");
  EXPECT_FALSE(written.contains("type"));
  EXPECT_EQ(written["axes"]["K"], Json::parse(R"({"type": "const", "value": 8})"));
  EXPECT_EQ(written["axes"]["M"], Json::parse(R"({"type": "var"})"));
  // Keys nobody here knows stay.
  EXPECT_EQ(written["provenance"], "lab");
  EXPECT_EQ(written["inputs"]["A"]["optional"], true);
  expect_error(signature_from_json(fixture("foreign_old.json"), "old.json", kStrict),
               {"old.json", "type"});
}

TEST(Signature, RefusesWhatEvenTheTolerantReaderCannotUse) {
  expect_error(read_broken([](Json& j) { j["axes"]["h"]["value"] = "eight"; }, kTolerant),
               {"/axes/h/value", "'eight' is not an integer"});
  expect_error(read_broken([](Json& j) { j["inputs"]["x"]["dtype"] = "uint8"; }, kTolerant),
               {"/inputs/x/dtype", "uint8"});
  expect_error(read_broken([](Json& j) { j["constraints"][0] = "lambda: 1"; }, kTolerant),
               {"/constraints/0", "column"});
  expect_error(signature_from_json(Json::parse("[1]"), "list.json", kTolerant), {"list.json"});
}

TEST(Signature, InfersWhatAForeignDefinitionLeavesUnsaid) {
  const auto norm = signature_from_json(fixture("foreign_rmsnorm.json"), "f", kTolerant);
  ASSERT_TRUE(norm);
  EXPECT_EQ(norm->fib.reference, "rmsnorm");
  EXPECT_EQ(norm->parameter("eps", 0), 1e-5);
  EXPECT_EQ(norm->fib.weights, std::vector<std::string>{"weight"});
  EXPECT_FALSE(norm->fib.tolerances.at("output").reason.empty());

  Json described = fixture("foreign_rmsnorm.json");
  described["reference"] = "def run(hidden_states, weight):\n    pass\n";
  EXPECT_EQ(signature_from_json(described, "f", kTolerant)->parameter("eps", 0), 1e-5);

  const auto attention = signature_from_json(fixture("foreign_prefill.json"), "f", kTolerant);
  ASSERT_TRUE(attention) << attention.error().to_string();
  EXPECT_EQ(attention->fib.reference, "gqa_paged_prefill");
  EXPECT_EQ(attention->fib.host_visible,
            (std::vector<std::string>{"qo_indptr", "kv_indptr", "kv_last_page_len"}));
  EXPECT_EQ(attention->fib.synthesis.at("qo_indptr").total, "total_q");
  EXPECT_EQ(attention->fib.synthesis.at("kv_indptr").total, "num_kv_indices");
  EXPECT_EQ(attention->fib.synthesis.at("kv_indices").limit, "num_pages");
  EXPECT_EQ(attention->fib.synthesis.at("kv_last_page_len").limit, "page_size");
  EXPECT_EQ(attention->fib.capacity_axes, std::vector<std::string>{"num_pages"});
  EXPECT_DOUBLE_EQ(attention->fib.distributions.at("sm_scale").a, 0.125);
  // Pages nobody refers to cost nothing, and a last page may hold a single token.
  EXPECT_NE(attention->fib.cost.bytes.find("max(0, distinct(kv_indices) - len(kv_last_page_len))"),
            std::string::npos);
  EXPECT_EQ(attention->fib.cost.bytes.find("num_pages"), std::string::npos);

  const auto unknown = signature_from_json(fixture("foreign_minimal.json"), "f", kTolerant);
  ASSERT_TRUE(unknown);
  EXPECT_TRUE(unknown->fib.reference.empty());
  EXPECT_EQ(unknown->fib.cost.bytes, "4 * n + 4 * n");
}

TEST(Signature, NamesTheFileItCannotRead) {
  expect_error(read_signature("/nowhere/x.json", kStrict), {"/nowhere/x.json"});
  const TemporaryFolder folder;
  folder.write("broken.json", "{\"name\": ");
  expect_error(read_signature(folder.path() / "broken.json", kTolerant), {"broken.json"});
}

}  // namespace
}  // namespace fib
