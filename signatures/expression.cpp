#include "signatures/expression.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_set>

#include "signatures/expression_node.h"

namespace fib {
namespace {

using Node = Expression::Node;
using Kind = Node::Kind;

void collect_names(const Node& node, std::set<std::string>& names) {
  if (node.kind == Kind::kName || node.kind == Kind::kElement || node.kind == Kind::kShape) {
    names.insert(node.name);
  }
  for (const auto& operand : node.operands) collect_names(*operand, names);
}

class Evaluator {
 public:
  Evaluator(const std::string& text, const ExpressionScope& scope) : text_(text), scope_(scope) {}

  Result<double> value(const Node& node) const {
    switch (node.kind) {
      case Kind::kNumber:
        return node.value;
      case Kind::kName:
        return name(node);
      case Kind::kUnary: {
        const double operand = FIB_TRY(value(*node.operands[0]));
        return node.name == "-" ? -operand : (operand == 0.0 ? 1.0 : 0.0);
      }
      case Kind::kBinary:
        return binary(node);
      case Kind::kCall:
        return call(node);
      case Kind::kElement:
        return element(FIB_TRY(integers(node.name)), node);
      case Kind::kShape:
        return element(std::span<const int64_t>(FIB_TRY(shape(node.name))), node);
      case Kind::kItem:
        break;
    }
    return item(*node.operands[0]);
  }

 private:
  Failure error(std::string_view message) const {
    return fail(ErrorCode::kInvalidInput, fmt::format("expression '{}': {}", text_, message));
  }

  Result<double> name(const Node& node) const {
    if (const auto axis = scope_.axis(node.name)) return *axis;
    if (scope_.shape(node.name)) {
      return error(fmt::format("'{}' is a tensor where a number should be", node.name));
    }
    return error(fmt::format("'{}' is neither an axis with a known size nor an input", node.name));
  }

  Result<std::span<const int64_t>> integers(const std::string& input) const {
    if (const auto values = scope_.integers(input)) return *values;
    return error(fmt::format("the values of '{}' are not known", input));
  }

  // The values of an input, or diff of one.
  Result<std::vector<double>> list(const Node& node) const {
    const bool is_diff = node.kind == Kind::kCall && node.name == "diff";
    if (node.kind != Kind::kName && !is_diff) {
      return error("dot takes names of inputs, each alone or in diff()");
    }
    const auto given = FIB_TRY(integers(is_diff ? node.operands[0]->name : node.name));
    std::vector<double> values(given.begin(), given.end());
    if (!is_diff || values.empty()) return values;
    for (size_t i = 0; i + 1 < values.size(); ++i) values[i] = values[i + 1] - values[i];
    values.pop_back();
    return values;
  }

  Result<double> dot(const Node& node) const {
    const auto left = FIB_TRY(list(*node.operands[0]));
    const auto right = FIB_TRY(list(*node.operands[1]));
    if (left.size() != right.size()) {
      return error(fmt::format("dot of {} and {} elements", left.size(), right.size()));
    }
    return std::inner_product(left.begin(), left.end(), right.begin(), 0.0);
  }

  Result<std::vector<int64_t>> shape(const std::string& input) const {
    if (auto dims = scope_.shape(input)) return *std::move(dims);
    return error(fmt::format("the shape of '{}' is not known", input));
  }

  Result<double> element(std::span<const int64_t> values, const Node& node) const {
    const auto size = static_cast<int64_t>(values.size());
    const auto index = static_cast<int64_t>(node.value);
    const int64_t at = index < 0 ? index + size : index;
    if (at < 0 || at >= size) {
      return error(fmt::format("index {} of '{}', which has {} elements", index, node.name, size));
    }
    return static_cast<double>(values[static_cast<size_t>(at)]);
  }

  Result<double> item(const Node& operand) const {
    if (operand.kind == Kind::kElement) return value(operand);
    const auto values = FIB_TRY(integers(operand.name));
    if (values.size() != 1) {
      return error(fmt::format("'{}' has {} elements, so .item() has no meaning", operand.name,
                               values.size()));
    }
    return static_cast<double>(values[0]);
  }

  Result<double> binary(const Node& node) const {
    const std::string_view op = node.name;
    const double left = FIB_TRY(value(*node.operands[0]));
    if (op == "and" && left == 0.0) return 0.0;
    if (op == "or" && left != 0.0) return 1.0;
    const double right = FIB_TRY(value(*node.operands[1]));
    if (op == "and" || op == "or") return right != 0.0 ? 1.0 : 0.0;
    if (op == "+") return left + right;
    if (op == "-") return left - right;
    if (op == "*") return left * right;
    if (op == "==") return left == right ? 1.0 : 0.0;
    if (op == "!=") return left != right ? 1.0 : 0.0;
    if (op == "<=") return left <= right ? 1.0 : 0.0;
    if (op == ">=") return left >= right ? 1.0 : 0.0;
    if (op == "<") return left < right ? 1.0 : 0.0;
    if (op == ">") return left > right ? 1.0 : 0.0;
    if (right == 0.0) return error("divides by zero");
    if (op == "/") return left / right;
    if (op == "//") return std::floor(left / right);
    return left - std::floor(left / right) * right;  // %
  }

  Result<double> call(const Node& node) const {
    const std::string_view function = node.name;
    const Node& first = *node.operands[0];
    if (function == "len") {
      const auto dims = FIB_TRY(shape(first.name));
      if (dims.empty()) return error(fmt::format("'{}' has no length, it is 0-D", first.name));
      return static_cast<double>(dims[0]);
    }
    if (function == "sum" || function == "distinct") {
      const auto values = FIB_TRY(integers(first.name));
      if (function == "distinct") {
        return static_cast<double>(
            std::unordered_set<int64_t>(values.begin(), values.end()).size());
      }
      double total = 0.0;
      for (const int64_t v : values) total += static_cast<double>(v);
      return total;
    }
    if (function == "diff") return error("diff is a list; only dot takes one");
    if (function == "dot") return dot(node);
    const bool is_extremum = function == "max" || function == "min";
    if (is_extremum && node.operands.size() == 1) return extremum_of_input(node);
    std::vector<double> arguments;
    for (const auto& operand : node.operands) arguments.push_back(FIB_TRY(value(*operand)));
    if (function == "max") return *std::max_element(arguments.begin(), arguments.end());
    if (function == "min") return *std::min_element(arguments.begin(), arguments.end());
    if (function == "abs") return std::abs(arguments[0]);
    if (function == "sqrt") {
      if (arguments[0] < 0.0) return error("takes the square root of a negative number");
      return std::sqrt(arguments[0]);
    }
    if (arguments[1] == 0.0) return error("divides by zero");
    return std::ceil(arguments[0] / arguments[1]);  // ceil_div
  }

  // max(x), min(x) over the values of an input.
  Result<double> extremum_of_input(const Node& node) const {
    const Node& input = *node.operands[0];
    if (input.kind != Kind::kName) {
      return error(fmt::format("{} of one argument takes the name of an input", node.name));
    }
    const auto values = FIB_TRY(integers(input.name));
    if (values.empty()) return error(fmt::format("{} of '{}', which is empty", node.name, input.name));
    const auto at = node.name == "max" ? std::max_element(values.begin(), values.end())
                                       : std::min_element(values.begin(), values.end());
    return static_cast<double>(*at);
  }

  const std::string& text_;
  const ExpressionScope& scope_;
};

}  // namespace

Result<Expression> Expression::parse(std::string_view text, std::string_view where) {
  Expression expression;
  expression.root_ = FIB_TRY(parse_expression(text, where));
  expression.text_ = std::string(text);
  collect_names(*expression.root_, expression.names_);
  return expression;
}

Result<double> Expression::evaluate(const ExpressionScope& scope) const {
  return Evaluator(text_, scope).value(*root_);
}

std::optional<std::pair<std::string, Expression>> Expression::as_axis_definition(
    const std::function<bool(std::string_view)>& is_axis) const {
  if (root_->kind != Kind::kBinary || root_->name != "==") return std::nullopt;
  for (const size_t side : {0, 1}) {
    const auto& axis = root_->operands[side];
    const auto& other = root_->operands[1 - side];
    if (axis->kind != Kind::kName || !is_axis(axis->name)) continue;
    Expression definition;
    // Evaluation errors quote the whole constraint: that is what stands in the file.
    definition.text_ = text_;
    definition.root_ = other;
    collect_names(*other, definition.names_);
    // `n == n + 0` says nothing about n.
    if (definition.names_.contains(axis->name)) continue;
    return std::pair(axis->name, std::move(definition));
  }
  return std::nullopt;
}

std::optional<std::pair<std::string, std::string>> Expression::as_last_element() const {
  if (root_->kind != Kind::kBinary || root_->name != "==") return std::nullopt;
  for (const size_t side : {0, 1}) {
    const auto& axis = root_->operands[side];
    const Node* other = root_->operands[1 - side].get();
    if (other->kind == Kind::kItem) other = other->operands[0].get();
    if (axis->kind == Kind::kName && other->kind == Kind::kElement && other->value == -1.0) {
      return std::pair(axis->name, other->name);
    }
  }
  return std::nullopt;
}

}  // namespace fib
