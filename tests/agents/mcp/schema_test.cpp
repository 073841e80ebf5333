#include "agents/mcp/schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fib::mcp {
namespace {

using ::testing::HasSubstr;

Json schema() {
  return object_schema({{"name", {{"type", "string"}, {"minLength", 1}}},
                        {"limit", {{"type", "integer"}, {"minimum", 1}, {"maximum", 5}}},
                        {"target", {{"enum", {"cpu", "cuda"}}}},
                        {"parts", list_schema({{"type", "boolean"}})},
                        {"files",
                         {{"type", "object"},
                          {"maxProperties", 1},
                          {"additionalProperties", {{"type", "string"}}}}}},
                       {"name"});
}

std::string trouble_with(const char* arguments) {
  const auto checked = check_against_schema(schema(), Json::parse(arguments), "arguments");
  return checked ? "" : checked.error().to_string();
}

TEST(McpSchema, TakesWhatFits) {
  EXPECT_EQ(trouble_with(R"({"name": "x"})"), "");
  EXPECT_EQ(trouble_with(R"({"name": "x", "limit": 5, "target": "cpu", "parts": [true],
                            "files": {"a": "b"}})"),
            "");
}

TEST(McpSchema, NamesTheFieldThatDoesNot) {
  EXPECT_THAT(trouble_with("[]"), HasSubstr("arguments: must be an object, not an array"));
  EXPECT_THAT(trouble_with("{}"), HasSubstr("arguments.name: is missing"));
  EXPECT_THAT(trouble_with(R"({"name": 3})"),
              HasSubstr("arguments.name: must be a string, not an integer"));
  EXPECT_THAT(trouble_with(R"({"name": ""})"), HasSubstr("needs at least 1"));
  EXPECT_THAT(trouble_with(R"({"name": "x", "limit": 0})"), HasSubstr("arguments.limit: is 0"));
  EXPECT_THAT(trouble_with(R"({"name": "x", "limit": 6})"), HasSubstr("at most 5"));
  EXPECT_THAT(trouble_with(R"({"name": "x", "limit": 1.5})"), HasSubstr("must be an integer"));
  EXPECT_THAT(trouble_with(R"({"name": "x", "target": "tpu"})"),
              HasSubstr("arguments.target: is \"tpu\", must be one of"));
  EXPECT_THAT(trouble_with(R"({"name": "x", "parts": [true, 1]})"),
              HasSubstr("arguments.parts[1]: must be a boolean"));
  EXPECT_THAT(trouble_with(R"({"name": "x", "files": {"a.cpp": 1}})"),
              HasSubstr("arguments.files.a.cpp: must be a string"));
  EXPECT_THAT(trouble_with(R"({"name": "x", "files": {"a": "", "b": ""}})"),
              HasSubstr("may have at most 1"));
}

TEST(McpSchema, SuggestsTheNearestName) {
  EXPECT_THAT(trouble_with(R"({"name": "x", "limits": 1})"), HasSubstr("did you mean 'limit'?"));
}

}  // namespace
}  // namespace fib::mcp
