#include "signatures/family.h"

#include <gtest/gtest.h>

#include <functional>

#include "tests/signatures/helpers.h"

namespace fib {
namespace {

class FamilyFile : public testing::Test {
 protected:
  // own_family.json with a change, as a file.
  std::filesystem::path file(const std::function<void(Json&)>& change = [](Json&) {}) {
    Json json = fixture("own_family.json");
    change(json);
    folder_.write("scale.json", json.dump());
    return folder_.path() / "scale.json";
  }
  TemporaryFolder folder_;
};

TEST_F(FamilyFile, ExpandsItsInstances) {
  const auto read = read_family(file());
  ASSERT_TRUE(read) << read.error().to_string();
  ASSERT_EQ(read->size(), 2u);
  const Signature& first = (*read)[0];
  EXPECT_EQ(first.name, "scale_h8_t2");
  EXPECT_EQ(first.fib.family, "scale");
  EXPECT_EQ(first.find_axis("h")->value, 8);
  EXPECT_EQ(first.find_axis("doubled")->value, 16);
  EXPECT_EQ(first.parameter("eps", 0), 1e-6);
  EXPECT_EQ(*first.description, "Scales 8 columns, eps 1e-06.");
  EXPECT_EQ(first.tags, std::vector<std::string>{"all"});
  EXPECT_EQ(first.reference,
            "def run(x):\n    assert x.shape[1] == 8\n    return {\"y\": x * 16 + 1e-06}\n");
  const Signature& second = (*read)[1];
  EXPECT_EQ(second.name, "scale_h4_t2");
  EXPECT_EQ(second.parameter("eps", 0), 0.5);
  EXPECT_EQ(*second.description, "Scales 4 columns, eps 0.5. A small one.");
  EXPECT_EQ(second.tags, (std::vector<std::string>{"all", "small"}));
}

TEST_F(FamilyFile, WritesInstancesAsOrdinaryDefinitions) {
  const auto read = read_family(file());
  ASSERT_TRUE(read);
  const Json written = signature_to_json(read->front());
  const auto again = signature_from_json(written, "written.json", Strictness::kStrict);
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ(dump_json(signature_to_json(*again)), dump_json(written));
  EXPECT_EQ(again->fib.family, "scale");
}

TEST_F(FamilyFile, MakesInstancesByName) {
  const auto made = instantiate_by_name(file(), "scale_h100_t2");
  ASSERT_TRUE(made) << made.error().to_string();
  EXPECT_EQ(made->find_axis("doubled")->value, 200);
  // A listed one keeps what its list entry says.
  EXPECT_EQ(instantiate_by_name(file(), "scale_h4_t2")->parameter("eps", 0), 0.5);
  const auto other = instantiate_by_name(file(), "scala_h4_t2");
  expect_error(other, {"'scala_h4_t2' doesn't fit the pattern 'scale_h{h}_t{two}'"});
  EXPECT_EQ(other.error().code, ErrorCode::kNotFound);
  expect_error(instantiate_by_name(file(), "scale_h4_t3"),
               {"scale.json", "the template fixes axis 'two' at 2, not 3"});
  EXPECT_TRUE(fits_pattern("a{x}b{y}", "a1b22"));
  for (const char* name : {"a1b", "ab2", "a1b2c", "a01b2", "a-1b2", "b1b2", "", "a99999999999999999999b1"}) {
    EXPECT_FALSE(fits_pattern("a{x}b{y}", name)) << name;
  }
}

TEST_F(FamilyFile, RefusesEachBrokenRuleByItsPlace) {
  struct Case {
    std::function<void(Json&)> change;
    std::vector<std::string_view> parts;
  };
  const Case cases[] = {
      {[](Json& j) { j["instance"] = 1; }, {"scale.json", "instance", "instances"}},
      {[](Json& j) { j.erase("family"); }, {"scale.json", "family"}},
      {[](Json& j) { j["template"]["reference"] = "def run(x): pass"; }, {"/template/reference"}},
      {[](Json& j) { j["template"]["fib"] = 3; }, {"/template/fib"}},
      {[](Json& j) { j["template"]["axes"] = 3; }, {"/template/axes"}},
      {[](Json& j) { j["instances"][0]["axis"] = 1; }, {"/instances/0", "axes"}},
      {[](Json& j) { j["instances"][0]["axes"]["h"] = "x"; }, {"/instances/0/axes/h"}},
      {[](Json& j) { j["instances"][0]["axes"]["n"] = 3; },
       {"/instances/0/axes/n", "no const axis 'n'"}},
      {[](Json& j) { j["instances"][1]["axes"].erase("h"); },
       {"/instances/1/axes", "axis 'h' has no value"}},
      {[](Json& j) { j["instances"][1]["parameters"]["epsilon"] = 1; },
       {"/instances/1/parameters/epsilon", "no parameter 'epsilon'"}},
      {[](Json& j) { j["instances"][1]["axes"]["h"] = 8; },
       {"/instances/1", "'scale_h8_t2' is listed twice"}},
      {[](Json& j) { j["template"]["axes"]["doubled"]["value"] = "2 * n"; },
       {"/template/axes/doubled/value", "'n' is neither", "const axes above it"}},
      {[](Json& j) { j["template"]["axes"]["doubled"]["value"] = "2 *"; },
       {"/template/axes/doubled/value", "column 4"}},
      {[](Json& j) { j["template"]["axes"]["doubled"]["value"] = "h / 3"; },
       {"scale.json (scale_h8_t2)", "/axes/doubled/value"}},
      {[](Json& j) { j["template"]["dtype"] = "x"; }, {"scale.json (scale_h8_t2)", "dtype"}},
      {[](Json& j) { j["template"]["fib"].erase("tolerances"); },
       {"scale.json (scale_h8_t2): /fib", "tolerances"}},
  };
  for (const Case& test : cases) {
    const auto read = read_family(file(test.change));
    ASSERT_FALSE(read) << test.parts[0];
    const std::string text = read.error().to_string();
    for (const auto part : test.parts) {
      EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in: " << text;
    }
  }
}

}  // namespace
}  // namespace fib
