#include "signatures/design_space.h"

#include <gtest/gtest.h>

#include <functional>

#include "signatures/catalog.h"
#include "signatures/solution_folder.h"
#include "tests/signatures/helpers.h"

namespace fib {
namespace {

constexpr const char* kSource =
    "#ifndef TILE\n"
    "#define TILE 64\n"
    "#endif\n"
    "#ifndef STAGES\n"
    "#define STAGES 3  // of the pipeline\n"
    "#endif\n"
    "int run() {\n"
    "  // fib:block dot\n"
    "  slow(TILE);\n"
    "  // fib:end dot\n"
    "\t// fib:block tail\r\n"
    "// fib:end tail\n"
    "}\n";

Json manifest() {
  return Json::parse(R"({
    "name": "plain", "signature": "rmsnorm_h4096", "author": "fib", "target": "cpu",
    "entry": "solution.cpp", "flags": ["-O2", "-DTILE=128"],
    "sources": ["solution.cpp", "variations/dot.inc"],
    "tunables": {
      "TILE": {"values": [32, 64, 128], "initial": 64, "about": "elements a step"},
      "STAGES": {"values": [2, 3, 4], "initial": 3}
    },
    "constraints": ["TILE * STAGES <= 384", "hidden_size % TILE == 0"],
    "variations": {"dot": {"about": "the product", "alternatives": {"fast": "variations/dot.inc"}}}
  })");
}

class DesignSpaces : public testing::Test {
 protected:
  Result<Solution> read(
      const std::function<void(Json&)>& change = [](Json&) {}, const std::string& source = kSource,
      const std::string& alternative = "fast(TILE);\n") {
    Json json = manifest();
    change(json);
    folder_.write("solution.json", json.dump());
    folder_.write("solution.cpp", source);
    folder_.write("variations/dot.inc", alternative);
    return read_solution_folder(folder_.path());
  }
  Solution solution() {
    auto one = read();
    EXPECT_TRUE(one) << one.error().to_string();
    return *one;
  }
  DesignSpace space() { return *design_space_of(solution()); }

  TemporaryFolder folder_;
};

Signature signature_with(std::vector<Axis> axes) {
  Signature signature;
  signature.name = "s";
  signature.axes = std::move(axes);
  return signature;
}

TEST_F(DesignSpaces, AreReadFromTheManifest) {
  const DesignSpace space = this->space();
  ASSERT_EQ(space.tunables.size(), 2u);
  EXPECT_EQ(space.tunables[0].name, "TILE");
  EXPECT_EQ(space.tunables[0].values, (std::vector<int64_t>{32, 64, 128}));
  EXPECT_EQ(space.tunables[0].initial, 64);
  EXPECT_EQ(space.tunables[0].about, "elements a step");
  ASSERT_EQ(space.constraints.size(), 2u);
  EXPECT_EQ(space.constraints[0].text(), "TILE * STAGES <= 384");
  ASSERT_EQ(space.variations.size(), 1u);
  EXPECT_EQ(space.variations[0].alternatives[0].file, "variations/dot.inc");
  EXPECT_FALSE(space.empty());
}

TEST_F(DesignSpaces, AreEmptyWhereNothingIsDeclared) {
  const auto solution = read([](Json& m) {
    for (const char* key : {"tunables", "constraints", "variations"}) m.erase(key);
  });
  ASSERT_TRUE(solution) << solution.error().to_string();
  EXPECT_TRUE(design_space_of(*solution)->empty());
  Solution foreign;
  foreign.language = SolutionLanguage::kTriton;
  EXPECT_TRUE(design_space_of(foreign)->empty());
}

TEST_F(DesignSpaces, ChangeNoKey) {
  const auto without = read([](Json& m) {
    for (const char* key : {"tunables", "constraints", "variations"}) m.erase(key);
  });
  ASSERT_TRUE(without);
  EXPECT_EQ(solution_key(solution()), solution_key(*without));
}

TEST_F(DesignSpaces, AreThereAgainAfterPackingAndUnpacking) {
  const Json packed = solution_to_json(solution());
  EXPECT_EQ(packed["fib"]["tunables"], manifest()["tunables"]);
  EXPECT_EQ(packed["fib"]["constraints"], manifest()["constraints"]);
  EXPECT_EQ(packed["fib"]["variations"], manifest()["variations"]);
  const auto unpacked = solution_from_json(packed, "packed.json", Strictness::kTolerant);
  ASSERT_TRUE(unpacked);
  const TemporaryFolder other;
  ASSERT_TRUE(write_solution_folder(*unpacked, other.path() / "again"));
  const auto again = read_solution(other.path() / "again");
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ(dump_json(solution_to_json(*again)), dump_json(packed));
}

TEST_F(DesignSpaces, SayWhatASolutionIsSetTo) {
  EXPECT_EQ(*configuration_of(solution(), space()), (Configuration{128, 3}));
  const auto initial = read([](Json& m) { m.erase("flags"); });
  EXPECT_EQ(*configuration_of(*initial, space()), (Configuration{64, 3}));
  const auto bare = read([](Json& m) {
    m["tunables"]["TILE"]["values"].push_back(1);
    m["flags"] = {"-DTILE"};
  });
  ASSERT_TRUE(bare);
  EXPECT_EQ(*configuration_of(*bare, *design_space_of(*bare)), (Configuration{1, 3}));
}

TEST_F(DesignSpaces, SetASolutionOtherwise) {
  const auto changed = with_configuration(solution(), space(), {32, 4});
  ASSERT_TRUE(changed);
  EXPECT_EQ(changed->fib["flags"], Json({"-O2", "-DTILE=32", "-DSTAGES=4"}));
  EXPECT_EQ(*configuration_of(*changed, space()), (Configuration{32, 4}));
  EXPECT_NE(solution_key(*changed), solution_key(solution()));
  EXPECT_EQ(changed->name, solution().name);
  // Back again: the same key, because a configuration has one spelling.
  const auto back = with_configuration(*changed, space(), {128, 3});
  EXPECT_EQ(solution_key(*back), solution_key(solution()));
  const auto initial =
      with_configuration(*read([](Json& m) { m["flags"] = {"-DTILE=32"}; }), space(), {64, 3});
  EXPECT_FALSE(initial->fib.contains("flags"));
  expect_error(with_configuration(solution(), space(), {33, 3}), {"33", "TILE", "[32,64,128]"});
  EXPECT_THROW((void)with_configuration(solution(), space(), {64}), std::logic_error);
}

TEST_F(DesignSpaces, AdmitWhatTheConstraintsAllow) {
  const auto catalog = Catalog::builtin(definitions_folder());
  const SignaturePtr norm = *catalog->find("rmsnorm_h4096");
  EXPECT_TRUE(*admits(space(), {128, 3}, *norm));
  EXPECT_FALSE(*admits(space(), {128, 4}, *norm));
  const auto odd =
      signature_with({{.name = "hidden_size", .kind = Axis::Kind::kConst, .value = 96}});
  EXPECT_TRUE(*admits(space(), {32, 3}, odd));
  EXPECT_FALSE(*admits(space(), {64, 3}, odd));
}

TEST_F(DesignSpaces, NameWhatAConstraintDoesNotKnow) {
  const auto other =
      signature_with({{.name = "hidden_sise", .kind = Axis::Kind::kConst, .value = 8}});
  expect_error(
      admits(space(), {32, 3}, other),
      {"hidden_size % TILE == 0", "'hidden_size' is neither", "did you mean 'hidden_sise'"});
  expect_error(check_constraints(space(), signature_with({{.name = "hidden_size"}})),
               {"axis 'hidden_size' of s differs from call to call"});
  expect_error(
      check_constraints(space(), signature_with({{.name = "TILE", .kind = Axis::Kind::kConst}})),
      {"'TILE' is a tunable and an axis of s"});
}

TEST_F(DesignSpaces, RefuseEachBrokenRuleByItsPlace) {
  struct Case {
    std::function<void(Json&)> change;
    std::vector<std::string_view> parts;
  };
  const Case cases[] = {
      {[](Json& m) { m["tunable"] = Json::object(); }, {"tunable", "did you mean 'tunables'?"}},
      {[](Json& m) { m["tunables"] = 3; }, {"/tunables", "expected an object"}},
      {[](Json& m) { m["tunables"]["tile"] = m["tunables"]["TILE"]; },
       {"/tunables/tile", "can't be a macro"}},
      {[](Json& m) { m["tunables"]["FIB_X"] = m["tunables"]["TILE"]; },
       {"/tunables/FIB_X", "can't be a macro"}},
      {[](Json& m) { m["tunables"]["TILE"]["value"] = 1; },
       {"/tunables/TILE", "did you mean 'values'?"}},
      {[](Json& m) { m["tunables"]["TILE"]["values"] = Json::array(); },
       {"/tunables/TILE/values", "at least one value"}},
      {[](Json& m) {
         m["tunables"]["TILE"]["values"] = {64, 64};
       },
       {"/tunables/TILE/values/1", "64 is there twice"}},
      {[](Json& m) { m["tunables"]["TILE"]["values"][0] = 0.5; }, {"/tunables/TILE/values/0"}},
      {[](Json& m) { m["tunables"]["TILE"].erase("initial"); }, {"/tunables/TILE", "initial"}},
      {[](Json& m) { m["tunables"]["TILE"]["initial"] = 65; },
       {"/tunables/TILE/initial", "65 is not one of the values", "[32,64,128]"}},
      {[](Json& m) { m["tunables"]["TILE"]["initial"] = 32; },
       {"/tunables/TILE", "initial is 32, but 'solution.cpp' defines TILE as 64"}},
      {[](Json& m) { m["tunables"]["TIL"] = m["tunables"]["TILE"]; },
       {"/tunables/TIL", "no source mentions TIL"}},
      {[](Json& m) { m["constraints"][0] = "TILE *"; }, {"/constraints/0", "column"}},
      {[](Json& m) { m["constraints"][1] = "TILES < 3"; },
       {"/constraints/1", "speaks of no tunable", "did you mean 'TILE'?"}},
      {[](Json& m) { m["constraints"][0] = ""; }, {"/constraints/0"}},
      {[](Json& m) { m["variations"]["a b"] = m["variations"]["dot"]; },
       {"/variations/a b", "can't be the name"}},
      {[](Json& m) { m["variations"]["dt"] = m["variations"]["dot"]; },
       {"/variations/dt", "no source has the block 'dt'", "did you mean 'dot'?"}},
      {[](Json& m) { m["variations"]["dot"]["alternatives"] = Json::object(); },
       {"/variations/dot/alternatives", "at least one"}},
      {[](Json& m) { m["variations"]["dot"]["alternatives"]["fast"] = "x.inc"; },
       {"/variations/dot/alternatives/fast", "'x.inc' is not among the sources"}},
      {[](Json& m) { m["variations"]["dot"]["alternatives"]["fast"] = "solution.cpp"; },
       {"/variations/dot/alternatives/fast", "'solution.cpp' has a block itself"}},
      {[](Json& m) { m["flags"] = {"-DTILE=65"}; },
       {"solution.json: /flags/0", "'-DTILE=65' is not a value", "[32,64,128]"}},
      {[](Json& m) { m["flags"] = {"-DTILE=0x40"}; }, {"/flags/0", "is not a value"}},
      {[](Json& m) {
         m["flags"] = {"-DTILE=64", "-DTILE=32"};
       },
       {"/flags/1", "TILE is set a second time"}},
  };
  for (const Case& test : cases) {
    const auto solution = read(test.change);
    ASSERT_FALSE(solution) << test.parts[0];
    const std::string text = solution.error().to_string();
    for (const auto part : test.parts) {
      EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in: " << text;
    }
  }
}

TEST_F(DesignSpaces, AreCheckedWhereASolutionComesAsJson) {
  Json packed = solution_to_json(solution());
  packed["fib"]["variations"]["dt"] = packed["fib"]["variations"]["dot"];
  const auto solution = solution_from_json(packed, "packed.json", Strictness::kTolerant);
  ASSERT_TRUE(solution);
  expect_error(design_space_of(*solution), {"packed.json: /fib/variations/dt", "no source has"});
}

TEST_F(DesignSpaces, FindBlocks) {
  const auto blocks = source_blocks(solution());
  ASSERT_TRUE(blocks) << blocks.error().to_string();
  ASSERT_EQ(blocks->size(), 2u);
  EXPECT_EQ((*blocks)[0].name, "dot");
  EXPECT_EQ((*blocks)[0].file, "solution.cpp");
  EXPECT_EQ((*blocks)[0].text, "  slow(TILE);\n");
  EXPECT_EQ((*blocks)[1].name, "tail");
  EXPECT_EQ((*blocks)[1].text, "");
}

TEST_F(DesignSpaces, RefuseMarksThatDoNotFit) {
  const auto with = [&](const std::string& text) { return read([](Json&) {}, kSource + text); };
  expect_error(with("// fib:block x\n"), {"solution.cpp:14", "block 'x' never ends"});
  expect_error(with("// fib:end x\n"), {"solution.cpp:14", "without its '// fib:block x'"});
  expect_error(with("// fib:block x\n// fib:block y\n"), {"solution.cpp:15", "within block 'x'"});
  expect_error(with("// fib:block x\n// fib:end y\n"), {"solution.cpp:15", "fib:end y"});
  expect_error(with("// fib:block\n"), {"can't be the name of a block"});
  expect_error(with("// fib:block dot\n// fib:end dot\n"),
               {"block 'dot' is in 'solution.cpp' and in 'solution.cpp'"});
  expect_error(read([](Json&) {}, kSource, "// fib:block dot\n// fib:end dot\n"),
               {"block 'dot' is in 'solution.cpp' and in 'variations/dot.inc'"});
}

TEST_F(DesignSpaces, PutOtherTextBetweenTheMarks) {
  const auto changed = with_block(solution(), "dot", "quick();\nquick();");
  ASSERT_TRUE(changed);
  EXPECT_EQ((*source_blocks(*changed))[0].text, "quick();\nquick();\n");
  EXPECT_NE(solution_key(*changed), solution_key(solution()));
  const auto back = with_block(*changed, "dot", "  slow(TILE);\n");
  EXPECT_EQ(solution_key(*back), solution_key(solution()));
  const auto emptied = with_block(solution(), "dot", "");
  EXPECT_EQ((*source_blocks(*emptied))[0].text, "");
  expect_error(with_block(solution(), "dit", "x"), {"no block 'dit'"});
  expect_error(with_block(solution(), "dot", "x\n  // fib:end dot\ny"), {"has a mark in it"});
}

}  // namespace
}  // namespace fib
