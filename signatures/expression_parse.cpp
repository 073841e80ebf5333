// Recursive descent, one function a level of precedence, loosest first.

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <initializer_list>
#include <utility>

#include "signatures/ascii.h"
#include "signatures/expression_node.h"

namespace fib {
namespace {

using Node = Expression::Node;
using Kind = Node::Kind;

// Deep enough for any formula people write, shallow enough for any stack.
constexpr int kMaxDepth = 100;
constexpr size_t kMaxLength = 4096;

bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
struct FunctionRule {
  std::string_view name;
  size_t min_arguments;
  size_t max_arguments;
  bool takes_input;  // the one argument is the name of an input
};
constexpr FunctionRule kFunctions[] = {
    {"len", 1, 1, true},         {"distinct", 1, 1, true},   {"sum", 1, 1, true},
    {"max", 1, 16, false},       {"min", 1, 16, false},      {"abs", 1, 1, false},
    {"sqrt", 1, 1, false},       {"ceil_div", 2, 2, false},  {"diff", 1, 1, true},
    {"dot", 2, 2, false},
};

const FunctionRule* find_function(std::string_view name) {
  for (const FunctionRule& rule : kFunctions) {
    if (rule.name == name) return &rule;
  }
  return nullptr;
}

struct Token {
  enum class Kind { kEnd, kNumber, kName, kSymbol };
  Kind kind = Kind::kEnd;
  std::string_view text;
  size_t begin = 0;
};

class Parser {
 public:
  Parser(std::string_view text, std::string_view where) : text_(text), where_(where) {}

  Result<ExpressionNode> run() {
    FIB_CHECK(advance());
    if (token_.kind == Token::Kind::kEnd) return error("an expression is missing");
    const auto root = FIB_TRY(disjunction());
    if (token_.kind != Token::Kind::kEnd) return unexpected("an operator or the end");
    return root;
  }

 private:
  Failure error(std::string_view message) const { return error_at(token_.begin, message); }
  Failure error_at(size_t at, std::string_view message) const {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("expression '{}', column {}: {}", text_.substr(0, 200), at + 1, message),
                std::string(where_));
  }
  Failure unexpected(std::string_view wanted) const {
    if (token_.kind == Token::Kind::kEnd) return error(fmt::format("ends where {} should be", wanted));
    return error(fmt::format("'{}' where {} should be", token_.text, wanted));
  }

  Result<void> advance() {
    last_end_ = token_.begin + token_.text.size();
    size_t at = last_end_;
    while (at < text_.size() && (text_[at] == ' ' || text_[at] == '\t')) ++at;
    token_ = Token{Token::Kind::kEnd, text_.substr(at, 0), at};
    if (at == text_.size()) return {};
    size_t end = at;
    if (is_name_start(text_[at])) {
      while (end < text_.size() && (is_name_start(text_[end]) || is_digit(text_[end]))) ++end;
      token_.kind = Token::Kind::kName;
    } else if (is_digit(text_[at])) {
      double ignored = 0.0;
      const auto parsed = std::from_chars(text_.data() + at, text_.data() + text_.size(), ignored);
      end = static_cast<size_t>(parsed.ptr - text_.data());
      token_.kind = Token::Kind::kNumber;
    } else {
      constexpr std::array<std::string_view, 17> kSymbols = {
          "==", "!=", "<=", ">=", "//", "<", ">", "+", "-", "*", "/", "%", "(", ")", "[", "]", ","};
      token_.kind = Token::Kind::kSymbol;
      if (text_[at] == '.') end = at + 1;
      for (std::string_view symbol : kSymbols) {
        if (end == at && text_.substr(at).starts_with(symbol)) end = at + symbol.size();
      }
      if (end == at) return error(fmt::format("'{}' is not part of the language", text_[at]));
    }
    token_.text = text_.substr(at, end - at);
    return {};
  }

  bool at_symbol(std::string_view symbol) const {
    return token_.kind == Token::Kind::kSymbol && token_.text == symbol;
  }
  bool at_word(std::string_view word) const {
    return token_.kind == Token::Kind::kName && token_.text == word;
  }
  bool at_keyword() const { return at_word("and") || at_word("or") || at_word("not"); }

  Result<void> expect(std::string_view symbol) {
    if (!at_symbol(symbol)) return unexpected(fmt::format("'{}'", symbol));
    return advance();
  }

  ExpressionNode make(Kind kind, std::string_view name, std::vector<ExpressionNode> operands,
                      size_t begin, double value = 0.0) const {
    return std::make_shared<const Node>(
        Node{kind, value, std::string(name), std::move(operands), begin, last_end_});
  }

  using Level = Result<ExpressionNode> (Parser::*)();

  // operand (symbol operand)*, grouping from the left.
  Result<ExpressionNode> left_associative(Level operand,
                                          std::initializer_list<std::string_view> operators) {
    auto left = FIB_TRY((this->*operand)());
    while (true) {
      std::string_view matched;
      for (std::string_view candidate : operators) {
        if (at_symbol(candidate) || at_word(candidate)) matched = candidate;
      }
      if (matched.empty()) return left;
      FIB_CHECK(advance());
      auto right = FIB_TRY((this->*operand)());
      const size_t begin = left->begin;
      left = make(Kind::kBinary, matched, {left, right}, begin);
    }
  }

  Result<ExpressionNode> disjunction() { return left_associative(&Parser::conjunction, {"or"}); }
  Result<ExpressionNode> conjunction() { return left_associative(&Parser::negation, {"and"}); }

  Result<ExpressionNode> negation() {
    if (!at_word("not")) return comparison();
    if (++depth_ > kMaxDepth) return error("nested too deeply");
    const size_t begin = token_.begin;
    FIB_CHECK(advance());
    auto operand = FIB_TRY(negation());
    --depth_;
    return make(Kind::kUnary, "not", {operand}, begin);
  }

  Result<ExpressionNode> comparison() {
    constexpr std::array<std::string_view, 6> kOperators = {"==", "!=", "<=", ">=", "<", ">"};
    const auto matched = [&]() -> std::string_view {
      for (std::string_view candidate : kOperators) {
        if (at_symbol(candidate)) return candidate;
      }
      return {};
    };
    auto left = FIB_TRY(sum());
    const std::string_view symbol = matched();
    if (symbol.empty()) return left;
    FIB_CHECK(advance());
    auto right = FIB_TRY(sum());
    // Python would read a < b < c as (a < b) and (b < c); rather than guess, ask.
    if (!matched().empty()) return error("comparisons can't be chained; join them with 'and'");
    const size_t begin = left->begin;
    return make(Kind::kBinary, symbol, {left, right}, begin);
  }

  Result<ExpressionNode> sum() { return left_associative(&Parser::product, {"+", "-"}); }
  Result<ExpressionNode> product() {
    return left_associative(&Parser::signed_operand, {"*", "/", "//", "%"});
  }

  Result<ExpressionNode> signed_operand() {
    if (!at_symbol("-")) return primary();
    if (++depth_ > kMaxDepth) return error("nested too deeply");
    const size_t begin = token_.begin;
    FIB_CHECK(advance());
    auto operand = FIB_TRY(signed_operand());
    --depth_;
    return make(Kind::kUnary, "-", {operand}, begin);
  }

  Result<ExpressionNode> primary() {
    if (++depth_ > kMaxDepth) return error("nested too deeply");
    auto node = FIB_TRY(atom());
    while (at_symbol(".") || at_symbol("[")) node = FIB_TRY(suffix(node));
    --depth_;
    return node;
  }

  Result<ExpressionNode> atom() {
    const size_t begin = token_.begin;
    if (token_.kind == Token::Kind::kNumber) {
      double value = 0.0;
      std::from_chars(token_.text.data(), token_.text.data() + token_.text.size(), value);
      FIB_CHECK(advance());
      return make(Kind::kNumber, {}, {}, begin, value);
    }
    if (at_symbol("(")) {
      FIB_CHECK(advance());
      auto inner = FIB_TRY(disjunction());
      FIB_CHECK(expect(")"));
      return inner;
    }
    if (token_.kind != Token::Kind::kName || at_keyword()) return unexpected("a number or a name");
    const std::string_view name = token_.text;
    FIB_CHECK(advance());
    if (at_symbol("(")) return call(name, begin);
    return make(Kind::kName, name, {}, begin);
  }

  Result<ExpressionNode> call(std::string_view name, size_t begin) {
    const FunctionRule* rule = find_function(name);
    if (rule == nullptr) {
      return error_at(begin, fmt::format("there is no function '{}'; there are len, sum, max, min, "
                                         "abs, sqrt, distinct, ceil_div, diff and dot", name));
    }
    FIB_CHECK(advance());
    std::vector<ExpressionNode> arguments;
    while (!at_symbol(")")) {
      if (!arguments.empty()) FIB_CHECK(expect(","));
      arguments.push_back(FIB_TRY(disjunction()));
    }
    FIB_CHECK(advance());
    if (arguments.size() < rule->min_arguments || arguments.size() > rule->max_arguments) {
      return error_at(begin, fmt::format("{} takes {} argument{}, not {}", name,
                                         rule->min_arguments == rule->max_arguments
                                             ? std::to_string(rule->min_arguments)
                                             : fmt::format("{} to {}", rule->min_arguments,
                                                           rule->max_arguments),
                                         rule->max_arguments == 1 ? "" : "s", arguments.size()));
    }
    if (rule->takes_input && arguments[0]->kind != Kind::kName) {
      return error_at(begin, fmt::format("{} takes the name of an input", name));
    }
    return make(Kind::kCall, name, std::move(arguments), begin);
  }

  // node.item(), node.shape[i] or node[i].
  Result<ExpressionNode> suffix(const ExpressionNode& node) {
    const size_t begin = node->begin;
    if (at_symbol("[")) {
      if (node->kind != Kind::kName) return error("only an input can be indexed");
      const double index = FIB_TRY(bracketed_index());
      return make(Kind::kElement, node->name, {}, begin, index);
    }
    FIB_CHECK(advance());
    if (at_word("item")) {
      if (node->kind != Kind::kName && node->kind != Kind::kElement) {
        return error(".item() needs an input or one of its elements");
      }
      FIB_CHECK(advance());
      FIB_CHECK(expect("("));
      FIB_CHECK(expect(")"));
      return make(Kind::kItem, {}, {node}, begin);
    }
    if (!at_word("shape")) return unexpected("'item()' or 'shape[i]'");
    if (node->kind != Kind::kName) return error("only an input has a shape");
    FIB_CHECK(advance());
    const double index = FIB_TRY(bracketed_index());
    return make(Kind::kShape, node->name, {}, begin, index);
  }

  Result<double> bracketed_index() {
    FIB_CHECK(expect("["));
    const bool is_negative = at_symbol("-");
    if (is_negative) FIB_CHECK(advance());
    int64_t index = 0;
    const char* const end = token_.text.data() + token_.text.size();
    if (token_.kind != Token::Kind::kNumber ||
        std::from_chars(token_.text.data(), end, index).ptr != end) {
      return unexpected("an integer index");
    }
    FIB_CHECK(advance());
    FIB_CHECK(expect("]"));
    return static_cast<double>(is_negative ? -index : index);
  }

  std::string_view text_;
  std::string_view where_;
  Token token_{Token::Kind::kEnd, {}, 0};
  size_t last_end_ = 0;  // where the token before the current one ends
  int depth_ = 0;
};

}  // namespace

Result<ExpressionNode> parse_expression(std::string_view text, std::string_view where) {
  if (text.size() > kMaxLength) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("an expression of {} characters; at most {} are read", text.size(),
                            kMaxLength),
                std::string(where));
  }
  return Parser(text, where).run();
}

}  // namespace fib
