#include "signatures/expression.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/signatures/helpers.h"

namespace fib {
namespace {

struct Scope final : ExpressionScope {
  std::optional<double> axis(std::string_view name) const override {
    const auto it = axes.find(std::string(name));
    return it == axes.end() ? std::nullopt : std::optional(it->second);
  }
  std::optional<std::span<const int64_t>> integers(std::string_view input) const override {
    const auto it = values.find(std::string(input));
    if (it == values.end()) return std::nullopt;
    return std::span<const int64_t>(it->second);
  }
  std::optional<std::vector<int64_t>> shape(std::string_view input) const override {
    const auto it = shapes.find(std::string(input));
    return it == shapes.end() ? std::nullopt : std::optional(it->second);
  }
  std::map<std::string, double> axes = {{"n", 7}, {"batch_size", 3}, {"zero", 0}};
  std::map<std::string, std::vector<int64_t>> values = {
      {"indptr", {0, 2, 2, 9}}, {"ids", {5, 1, 5, 3}}, {"one", {4}}, {"none", {}}};
  std::map<std::string, std::vector<int64_t>> shapes = {
      {"indptr", {4}}, {"ids", {2, 2}}, {"one", {1}}, {"none", {0}}, {"scalar", {}}};
};

double value_of(std::string_view text) {
  const auto expression = Expression::parse(text);
  EXPECT_TRUE(expression) << expression.error().to_string();
  const auto value = expression->evaluate(Scope());
  EXPECT_TRUE(value) << value.error().to_string();
  return value.value_or(-12345.0);
}

TEST(Expression, ComputesAsPythonDoes) {
  const std::pair<const char*, double> cases[] = {
      {"1 + 2 * 3", 7},
      {"(1 + 2) * 3", 9},
      {"2 - 3 - 4", -5},
      {"-n + 10", 3},
      {"--n", 7},
      {"- 2 * 3", -6},
      {"7 / 2", 3.5},
      {"7 // 2", 3},
      {"-7 // 2", -4},
      {"-7 % 3", 2},
      {"7 % -3", -2},
      {"n == 7", 1},
      {"n != 7", 0},
      {"n < 7", 0},
      {"n <= 7", 1},
      {"n > 6 and batch_size >= 3", 1},
      {"n > 7 or batch_size == 3", 1},
      {"not n == 8 and not zero", 1},
      {"zero and 1 / zero", 0},  // the right side isn't looked at
      {"n or 1 / zero", 1},
      {"indptr[-1].item()", 9},
      {"indptr[1]", 2},
      {"one.item()", 4},
      {"ids.shape[0] + ids.shape[-1]", 4},
      {"len(indptr)", 4},
      {"sum(indptr)", 13},
      {"sum(none)", 0},
      {"max(ids)", 5},
      {"min(ids)", 1},
      {"max(n, 3, 11)", 11},
      {"min(n, batch_size)", 3},
      {"abs(-4)", 4},
      {"sqrt(n + 2)", 3},
      {"distinct(ids)", 3},
      {"ceil_div(n, 2)", 4},
      {"dot(ids, ids)", 60},
      {"dot(diff(indptr), diff(indptr))", 53},
      {"dot(none, diff(none))", 0},
      {"1e3 + 0.5", 1000.5},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_DOUBLE_EQ(value_of(text), expected) << text;
  }
}

TEST(Expression, ListsTheNamesItMentions) {
  const auto expression = Expression::parse("num_kv == kv_indptr[-1].item() + q.shape[0] * max(n, 2)");
  ASSERT_TRUE(expression);
  EXPECT_EQ(expression->names(), (std::set<std::string>{"kv_indptr", "n", "num_kv", "q"}));
}

TEST(Expression, NamesTheColumnOfASyntaxError) {
  const std::pair<const char*, std::vector<std::string_view>> cases[] = {
      {"", {"column 1", "is missing"}},
      {"a +", {"column 4", "ends where a number or a name should be"}},
      {"a b", {"column 3", "'b' where an operator or the end should be"}},
      {"a = b", {"column 3", "'=' is not part of the language"}},
      {"a ** 2", {"column 4", "'*' where a number or a name should be"}},
      {"a & b", {"column 3", "'&' is not part of the language"}},
      {"(a + 1", {"column 7", "ends where ')' should be"}},
      {"a < b < c", {"column 7", "can't be chained"}},
      {"eval(a)", {"column 1", "no function 'eval'", "ceil_div"}},
      {"distinct(a + 1)", {"column 1", "distinct takes the name of an input"}},
      {"diff(a + 1)", {"column 1", "diff takes the name of an input"}},
      {"ceil_div(a)", {"column 1", "ceil_div takes 2 arguments, not 1"}},
      {"len()", {"column 1", "len takes 1 argument, not 0"}},
      {"x[i]", {"column 3", "'i' where an integer index should be"}},
      {"x[1.5]", {"column 3", "'1.5' where an integer index should be"}},
      {"x[0][1]", {"column 5", "only an input can be indexed"}},
      {"x.size", {"column 3", "'size' where 'item()' or 'shape[i]' should be"}},
      {"x.shape", {"column 8", "ends where '[' should be"}},
      {"(a + b).item()", {"column 9", ".item() needs an input"}},
      {"not", {"column 4", "ends where"}},
      {"1 if a else 2", {"column 3", "'if'"}},
      {"x[:1]", {"column 3", "':' is not part"}},
  };
  for (const auto& [text, parts] : cases) {
    const auto expression = Expression::parse(text, "file.json: /constraints/0");
    ASSERT_FALSE(expression) << text;
    const std::string message = expression.error().to_string();
    EXPECT_NE(message.find("file.json: /constraints/0"), std::string::npos) << message;
    for (const auto part : parts) {
      EXPECT_NE(message.find(part), std::string::npos) << text << ": " << message;
    }
  }
}

TEST(Expression, RefusesWhatWouldExhaustTheStack) {
  expect_error(Expression::parse(std::string(3000, '(') + "1"), {"nested too deeply"});
  expect_error(Expression::parse(std::string(3000, '-') + "1"), {"nested too deeply"});
  std::string nots;
  for (int i = 0; i < 900; ++i) nots += "not ";
  expect_error(Expression::parse(nots + "1"), {"nested too deeply"});
  expect_error(Expression::parse(std::string(5000, '1')), {"5000 characters"});
  // Depth is about nesting, not about length.
  std::string sum = "1";
  for (int i = 0; i < 1000; ++i) sum += "+1";
  EXPECT_DOUBLE_EQ(value_of(sum), 1001);
}

TEST(Expression, SaysWhyAValueCannotBeHad) {
  const std::pair<const char*, std::vector<std::string_view>> cases[] = {
      {"m + 1", {"expression 'm + 1'", "'m' is neither an axis with a known size nor an input"}},
      {"indptr + 1", {"'indptr' is a tensor where a number should be"}},
      {"1 / zero", {"divides by zero"}},
      {"1 // zero", {"divides by zero"}},
      {"1 % zero", {"divides by zero"}},
      {"ceil_div(1, zero)", {"divides by zero"}},
      {"sqrt(0 - n)", {"square root of a negative number"}},
      {"indptr[4]", {"index 4 of 'indptr', which has 4 elements"}},
      {"indptr[-5]", {"index -5"}},
      {"none[-1].item()", {"index -1 of 'none', which has 0 elements"}},
      {"ids.item()", {"'ids' has 4 elements"}},
      {"unknown[0]", {"the values of 'unknown' are not known"}},
      {"unknown.shape[0]", {"the shape of 'unknown' is not known"}},
      {"ids.shape[2]", {"index 2 of 'ids'"}},
      {"len(scalar)", {"'scalar' has no length"}},
      {"max(none)", {"max of 'none', which is empty"}},
      {"diff(indptr)", {"diff is a list"}},
      {"dot(ids, n + 1)", {"dot takes names of inputs"}},
      {"dot(ids, diff(indptr))", {"dot of 4 and 3 elements"}},
      {"min(n + 1)", {"min of one argument takes the name of an input"}},
  };
  for (const auto& [text, parts] : cases) {
    const auto expression = Expression::parse(text);
    ASSERT_TRUE(expression) << expression.error().to_string();
    const auto value = expression->evaluate(Scope());
    ASSERT_FALSE(value) << text;
    for (const auto part : parts) {
      EXPECT_NE(value.error().message.find(part), std::string::npos) << value.error().message;
    }
  }
}

TEST(Expression, KnowsDefinitionsOfAxes) {
  const auto is_axis = [](std::string_view name) { return name == "len_indptr"; };
  for (const char* text : {"len_indptr == batch_size + 1", "batch_size + 1 == len_indptr"}) {
    const auto definition = Expression::parse(text)->as_axis_definition(is_axis);
    ASSERT_TRUE(definition) << text;
    EXPECT_EQ(definition->first, "len_indptr");
    EXPECT_EQ(*definition->second.evaluate(Scope()), 4);
    EXPECT_EQ(definition->second.names(), std::set<std::string>{"batch_size"});
  }
  for (const char* text : {"len_indptr >= batch_size", "len_indptr + 1 == batch_size",
                           "other == batch_size", "len_indptr == len_indptr + 0"}) {
    EXPECT_FALSE(Expression::parse(text)->as_axis_definition(is_axis)) << text;
  }
}

TEST(Expression, KnowsAxesThatEndOffsets) {
  for (const char* text : {"total == indptr[-1].item()", "total == indptr[-1]",
                           "indptr[-1].item() == total"}) {
    const auto last = Expression::parse(text)->as_last_element();
    ASSERT_TRUE(last) << text;
    EXPECT_EQ(*last, (std::pair<std::string, std::string>("total", "indptr")));
  }
  for (const char* text : {"total == indptr[0].item()", "total == n", "total <= indptr[-1]",
                           "total + 1 == indptr[-1]", "total == one.item()"}) {
    EXPECT_FALSE(Expression::parse(text)->as_last_element()) << text;
  }
}

}  // namespace
}  // namespace fib
