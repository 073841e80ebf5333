#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "signatures/base/json.h"
#include "signatures/base/utf8.h"

namespace fib {
namespace {

// Spelled by Python 3.11's json.dumps.
constexpr const char* kPythonFloats[] = {
    "0.0",
    "-0.0",
    "1.0",
    "2.0",
    "-2.5",
    "0.1",
    "1e-05",
    "1e-06",
    "1.5e-06",
    "0.0001",
    "0.00012345",
    "9.999e-05",
    "1000000000000000.0",
    "1e+16",
    "1.5e+16",
    "1.2345678901234568e+17",
    "9007199254740992.0",
    "9999999999999998.0",
    "1e+21",
    "1e+22",
    "1e+100",
    "1.7976931348623157e+308",
    "5e-324",
    "2.2250738585072014e-308",
    "3.141592653589793",
    "0.3333333333333333",
    "100.0",
    "1e-10",
    "10928588.983213553",
    "1.4186613525849614e+134",
    "-7.571968556055867e-74",
    "-1.4074705188261364e+113",
    "-3.3339745473042614e-121",
    "-1.2342180766211395e-271",
    "-5.126864004244935e+111",
    "-2.1520217579844227e+32",
    "0.1399601630397701",
    "1.01853664031722e-244",
    "2.9704598186234577e-115",
    "3.0534183338726823e+150",
    "-2.3027782228163463e+146",
    "3.56409621163656e+161",
    "6.352929017207453e-183",
    "0.3146575865605324",
    "-1.2761724801771812e-23",
    "2.0868668176225336e+195",
    "3.66898827745704e-84",
    "-1.389122273370197e+145",
    "1.7548715433165102e+172",
    "-1039514241563211.8",
    "5.7804021771411506e-220",
    "-2.8497478716107576e-163",
    "3.490691392124745e+240",
    "1.3282314387596086e-145",
    "-2.9317061175715426e+274",
    "4.1124768973349897e-302",
    "-2.5983853818656714e+29",
    "-2.5839922981649337e+259",
    "3.7615508677292285e-104",
    "2.1435728770450893e-103",
    "0.2893051677469265",
    "539223468870810.6",
    "0.06257301956771277",
    "9409760010879990.0",
    "196879.0439260326",
    "29878.889785386775",
    "0.0041490671162274515",
    "2638.1193894997023",
    "3013591007694.625",
    "5861412585033.708",
    "6779.3424954769125",
    "6602.245055107714",
    "818518074.6470709",
    "0.06964198076411568",
    "4812183862368639.0",
    "17.612008047849624",
    "9.750995631442353e-07",
    "94922.04766705261",
    "8.448808893881296e-07",
    "5490659.459511808",
    "366184475841.86053",
    "84123409.54622506",
    "0.004672711869894153",
    "0.6237130310772351",
    "1.1902055707377501",
    "92965531.95975211",
    "34438.181305301194",
    "89.2711091970666",
    "0.0007756030146989953",
    "5.897633712619398e+17",
};

TEST(DumpJson, FloatsAreSpelledAsPythonDoes) {
  for (const char* spelled : kPythonFloats)
    EXPECT_EQ(dump_json(Json(std::strtod(spelled, nullptr))), spelled);
}

TEST(DumpJson, FloatsReadBackTheSame) {
  uint64_t state = 99;
  for (int i = 0; i < 100'000; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const double value = std::bit_cast<double>(state);
    if (!std::isfinite(value)) continue;
    const std::string text = dump_json(Json(value));
    const Json back = parse_json(text, "f").value();
    ASSERT_TRUE(back.is_number_float()) << text;
    ASSERT_EQ(std::bit_cast<uint64_t>(back.get<double>()), state) << text;
  }
}

TEST(DumpJson, WhatIsNoJsonNumberIsAString) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(dump_json(Json::array({kInf, -kInf, std::nan("")})),
            R"(["Infinity","-Infinity","NaN"])");
}

TEST(DumpJson, Integers) {
  EXPECT_EQ(dump_json(Json(std::numeric_limits<int64_t>::min())), "-9223372036854775808");
  EXPECT_EQ(dump_json(Json(std::numeric_limits<uint64_t>::max())), "18446744073709551615");
}

TEST(DumpJson, StringsAreEscapedAsPythonDoes) {
  EXPECT_EQ(dump_json(Json("\"\\/\b\f\n\r\t\x01\x1f\x7f é 中 😀")), R"("\"\\/\b\f\n\r\t\u0001\u001f)"
                                                                   "\x7f"
                                                                   R"( é 中 😀")");
  EXPECT_EQ(dump_json(Json(std::string("a\0b", 3))), R"("a\u0000b")");
  EXPECT_EQ(dump_json(Json{{"ké\n", 1}}), R"({"ké\n":1})");
}

TEST(DumpJson, InvalidUtf8IsReplacedNotThrown) {
  EXPECT_EQ(dump_json(Json("a\xff"
                           "b\xe2\x82")),
            "\"a\uFFFDb\uFFFD\uFFFD\"");
  EXPECT_TRUE(parse_json(dump_json(Json("\xed\xa0\x80\xc0\x80\xf5")), "f"));
}

// json.dumps(value, separators=(",", ":"), ensure_ascii=False) and json.dumps(value, indent=2,
// ensure_ascii=False) of one value with everything in it.
TEST(DumpJson, LayoutIsPythons) {
  const char* compact = R"({"b":[],"a":{},"list":[1,[2.0,{"x":null}],true],"text":"ü","f":1e-06})";
  const char* pretty = R"({
  "b": [],
  "a": {},
  "list": [
    1,
    [
      2.0,
      {
        "x": null
      }
    ],
    true
  ],
  "text": "ü",
  "f": 1e-06
})";
  const Json value = parse_json(pretty, "f").value();
  EXPECT_EQ(dump_json(value), compact);
  EXPECT_EQ(dump_json_pretty(value), pretty);
  EXPECT_EQ(dump_json_pretty(Json::array()), "[]");
  EXPECT_EQ(dump_json_pretty(Json()), "null");
}

TEST(Utf8, LengthOfTheFirstCharacter) {
  EXPECT_EQ(utf8_length(""), 0u);
  EXPECT_EQ(utf8_length("ab"), 1u);
  EXPECT_EQ(utf8_length("\u00e9x"), 2u);
  EXPECT_EQ(utf8_length("\u4e2d"), 3u);
  EXPECT_EQ(utf8_length("\U0010FFFF"), 4u);
  for (const char* bad : {"\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
                          "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xe4\xb8"})
    EXPECT_EQ(utf8_length(bad), 0u);
}

}  // namespace
}  // namespace fib
