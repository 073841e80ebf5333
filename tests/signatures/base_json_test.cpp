#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "signatures/base/json.h"
#include "signatures/base/suggest.h"
#include "tests/scratch_folder.h"

namespace fib {
namespace {

std::string refusal(std::string_view text) {
  const auto parsed = parse_json(text, "f.json");
  if (parsed) return "accepted: " + dump_json(*parsed);
  EXPECT_EQ(parsed.error().code, ErrorCode::kInvalidInput);
  return parsed.error().to_string();
}

std::string nested(size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

TEST(ParseJson, KeepsTheOrderOfKeys) {
  const Json value =
      parse_json(R"({"z": 1, "a": {"y": [1, -2, 2.5, true, null], "b": "é"}})", "f").value();
  EXPECT_EQ(dump_json(value), R"({"z":1,"a":{"y":[1,-2,2.5,true,null],"b":"é"}})");
  EXPECT_EQ(parse_json("7", "f").value(), 7);
}

TEST(ParseJson, MalformedTextIsLocated) {
  EXPECT_EQ(refusal("{\n  \"a\": 1,\n  \"b\" 2\n}"),
            "f.json:3:7: syntax error while parsing object separator - unexpected "
            "number literal; expected ':'");
  EXPECT_TRUE(refusal("{\"a\": [1,]}").starts_with("f.json:1:10: "))
      << refusal("{\"a\": [1,]}");
  EXPECT_TRUE(refusal("{'a': 1}").starts_with("f.json:1:2: "));
  EXPECT_TRUE(refusal("// no\n1").starts_with("f.json:1:1: "));
  EXPECT_TRUE(refusal("[NaN]").starts_with("f.json:1:2: "));
  EXPECT_TRUE(refusal("[01]").starts_with("f.json:1:3: "));
  EXPECT_TRUE(refusal("[\"a\tb\"]").starts_with("f.json:1:4: "));
}

TEST(ParseJson, ColumnsCountCharacters) {
  EXPECT_TRUE(refusal("[\"\u00e9\u00e9\u00e9\" 1]").starts_with("f.json:1:8: "));
}

TEST(ParseJson, TruncatedTextIsLocatedAtItsEnd) {
  constexpr std::string_view kWhole = R"({"a": [1, {"b": "text"}]})";
  for (size_t length = 0; length < kWhole.size(); ++length) {
    const std::string said = refusal(kWhole.substr(0, length));
    EXPECT_TRUE(said.starts_with("f.json:1:" + std::to_string(length + 1) + ": "))
        << said;
    EXPECT_TRUE(said.find("unexpected end of input") != said.npos ||
                said.find("missing closing quote") != said.npos)
        << said;
  }
  EXPECT_TRUE(refusal(std::string_view()).starts_with("f.json:1:1: "));
}

TEST(ParseJson, TrailingTextIsRefused) {
  EXPECT_TRUE(refusal("{}\n{}").starts_with("f.json:2:1: "));
  EXPECT_TRUE(refusal("1 x").starts_with("f.json:1:3: "));
  EXPECT_EQ(refusal("{} \n "), "accepted: {}");
}

TEST(ParseJson, NulCharactersDoNotEndTheText) {
  EXPECT_EQ(refusal(std::string_view("{}\0{", 4)),
            "f.json:1:3: a NUL character is not allowed in JSON");
  EXPECT_EQ(refusal(std::string_view("{}\0", 3)),
            "f.json:1:3: a NUL character is not allowed in JSON");
}

TEST(ParseJson, DuplicateKeysAreRefusedAtTheSecondOne) {
  EXPECT_EQ(refusal("{\"a\": 1,\n \"b\": {},\n  \"a\": 2}"),
            "f.json:3:3: duplicate key 'a'");
  EXPECT_EQ(refusal(R"([{"x": {"k": 1, "k": 1}}])"),
            "f.json:1:17: duplicate key 'k'");
  // Spelled with escapes it is the same key, found back over quotes and backslashes.
  EXPECT_EQ(refusal(R"({"a": 1, "\u0061": 2})"), "f.json:1:10: duplicate key 'a'");
  EXPECT_EQ(refusal(R"({"q\"\\": 1, "q\"\\": 2})"),
            "f.json:1:14: duplicate key 'q\"\\'");
  EXPECT_EQ(refusal(R"({"": 1, "": 2})"), "f.json:1:9: duplicate key ''");
  EXPECT_EQ(refusal(R"({"b":1,"a":1,"a":2,"b":2})"),
            "f.json:1:14: duplicate key 'a'");
  EXPECT_EQ(refusal(R"({"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]})"),
            R"(accepted: {"a":{"a":1},"b":[{"a":1},{"a":2}]})");
}

TEST(ParseJson, InvalidUtf8IsRefused) {
  for (std::string_view bad :
       {"\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"}) {
    const std::string said = refusal("{\"a\": \"" + std::string(bad) + "\"}");
    EXPECT_TRUE(said.starts_with("f.json:1:")) << said;
    EXPECT_NE(said.find("ill-formed UTF-8"), std::string::npos) << said;
  }
  EXPECT_NE(refusal(R"(["\ud800"])").find("surrogate"), std::string::npos);
  EXPECT_EQ(refusal(R"(["\ud83d\ude00"])"), "accepted: [\"\U0001F600\"]");
}

TEST(ParseJson, DepthIsLimited) {
  EXPECT_TRUE(parse_json(nested(256), "f"));
  EXPECT_EQ(refusal(nested(257)), "f.json:1:257: nested deeper than 256 levels");
  EXPECT_EQ(refusal(std::string(1'000'000, '[')),
            "f.json:1:257: nested deeper than 256 levels");
}

TEST(ParseJson, NumbersOutOfRangeAreRefused) {
  EXPECT_TRUE(refusal("[1e999]").starts_with("f.json:1:6: number overflow"))
      << refusal("[1e999]");
  EXPECT_EQ(refusal("18446744073709551615"), "accepted: 18446744073709551615");
}

TEST(ParseJson, LongTokensDoNotMakeLongMessages) {
  EXPECT_LT(refusal("{\"" + std::string(100'000, 'k') + "\" 1}").size(), 400u);
}

TEST(ParseJson, ManyKeysAreNoTrouble) {
  std::string text = "{";
  for (int i = 0; i < 150'000; ++i)
    text += (i ? ",\"k" : "\"k") + std::to_string(i) + "\":" + std::to_string(i);
  const auto parsed = parse_json(text + "}", "f");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->size(), 150'000u);
}

TEST(ReadJsonFile, NamesTheFile) {
  ScratchFolder folder;
  std::ofstream(folder / "a.json") << "{\"a\": }";
  const auto parsed = read_json_file(folder / "a.json");
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().where, (folder / "a.json").string() + ":1:7");
  EXPECT_EQ(read_json_file(folder / "b.json").error().code, ErrorCode::kNotFound);
}

class View : public testing::Test {
 protected:
  const Json json_ = parse_json(R"({
    "text": "t", "empty": "", "int": 8, "whole": 8.0, "half": 8.5, "big": 9223372036854775808,
    "huge": 1e300, "negative": -9223372036854775808, "inf": "-Infinity", "nan": "NaN",
    "yes": true, "nothing": null, "list": ["a", 1], "a/b~c": {"deep": [{}, {"x": "1"}]}
  })",
                                "f.json")
                         .value();
  const JsonView view_{json_, "f.json"};

  JsonView at(std::string_view key) { return view_.at(key).value(); }

  template <class T>
  static std::string said(const Result<T>& result) {
    return result ? "accepted" : result.error().to_string();
  }
};

TEST_F(View, ReadsValues) {
  EXPECT_EQ(at("text").string().value(), "t");
  EXPECT_EQ(at("empty").string().value(), "");
  EXPECT_EQ(at("int").integer().value(), 8);
  EXPECT_EQ(at("whole").integer().value(), 8);
  EXPECT_EQ(at("negative").integer().value(), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(at("half").number().value(), 8.5);
  EXPECT_EQ(at("int").number().value(), 8.0);
  EXPECT_EQ(at("inf").number().value(), -std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(at("nan").number().value()));
  EXPECT_TRUE(at("yes").boolean().value());
  EXPECT_EQ(view_.object().value().front().first, "text");
}

TEST_F(View, SaysWhatWasThereInstead) {
  EXPECT_EQ(said(at("int").string()), "f.json: /int: expected a string, found 8");
  EXPECT_EQ(said(at("empty").non_empty_string()), "f.json: /empty: the string must not be empty");
  EXPECT_EQ(said(at("half").integer()), "f.json: /half: expected an integer, found 8.5");
  EXPECT_EQ(said(at("text").integer()), "f.json: /text: expected an integer, found \"t\"");
  EXPECT_EQ(said(at("big").integer()),
            "f.json: /big: expected an integer of 64 bits, found 9223372036854775808");
  EXPECT_EQ(said(at("huge").integer()),
            "f.json: /huge: expected an integer of 64 bits, found 1e+300");
  EXPECT_EQ(said(at("text").number()), "f.json: /text: expected a number, found \"t\"");
  EXPECT_EQ(said(at("int").boolean()), "f.json: /int: expected true or false, found 8");
  EXPECT_EQ(said(at("text").array()), "f.json: /text: expected an array, found \"t\"");
  EXPECT_EQ(said(at("list").object()), "f.json: /list: expected an object, found an array");
  EXPECT_EQ(said(at("list").strings()), "f.json: /list/1: expected a string, found 1");
  EXPECT_EQ(said(at("nothing").string()), "f.json: /nothing: expected a string, found null");
  EXPECT_EQ(said(view_.at("gone")), "f.json: 'gone' is missing");
  EXPECT_EQ(said(at("list").at("x")), "f.json: /list: expected an object with 'x', found an array");
}

TEST_F(View, PointersAreEscapedAndFollowNesting) {
  const JsonView deep = at("a/b~c").at("deep").value().array().value()[1].at("x").value();
  EXPECT_EQ(deep.location(), "f.json: /a~1b~0c/deep/1/x");
  EXPECT_EQ(said(deep.integer()), "f.json: /a~1b~0c/deep/1/x: expected an integer, found \"1\"");
}

TEST_F(View, AbsentAndNullMembers) {
  EXPECT_FALSE(view_.find("gone"));
  EXPECT_FALSE(view_.find("nothing"));
  EXPECT_TRUE(view_.find("int"));
  EXPECT_FALSE(at("list").find("int"));
  EXPECT_TRUE(view_.contains("nothing"));
  EXPECT_FALSE(view_.contains("gone"));
  EXPECT_FALSE(at("list").contains("a"));
}

TEST_F(View, UnknownKeysAreRefusedWithTheNearestKnownOne) {
  const Json json = parse_json(R"({"a": {"dtpye": "x"}})", "f").value();
  const JsonView member = JsonView(json, "f.json").at("a").value();
  EXPECT_EQ(said(member.only_keys({"shape", "dtype"})),
            "f.json: /a/dtpye: unknown key 'dtpye' (did you mean 'dtype'?)");
  EXPECT_EQ(said(member.only_keys({"shape", "bytes"})),
            "f.json: /a/dtpye: unknown key 'dtpye' (known here: shape, bytes)");
  EXPECT_EQ(said(member.only_keys({"dtpye", "shape"})), "accepted");
  EXPECT_EQ(said(at("list").only_keys({})), "f.json: /list: expected an object, found an array");
}

TEST(NearestWord, CountsEditsAndSwaps) {
  constexpr std::string_view kWords[] = {"dtype", "shape", "description", "m"};
  EXPECT_EQ(nearest_word("dtyp", kWords), "dtype");
  EXPECT_EQ(nearest_word("dytpe", kWords), "dtype");
  EXPECT_EQ(nearest_word("desciption", kWords), "description");
  EXPECT_EQ(nearest_word("n", kWords), "m");
  EXPECT_EQ(nearest_word("constraints", kWords), std::nullopt);
  EXPECT_EQ(nearest_word(std::string(1'000, 'x'), kWords), std::nullopt);
  EXPECT_EQ(nearest_word("x", {}), std::nullopt);
}

}  // namespace
}  // namespace fib
