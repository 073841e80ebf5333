#pragma once

// The parsed form of an expression. Private to expression.cpp and expression_parse.cpp.

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "signatures/expression.h"

namespace fib {

struct Expression::Node {
  enum class Kind {
    kNumber,   // value
    kName,     // name: an axis or an input
    kUnary,    // name: "-" or "not"
    kBinary,   // name: the operator
    kCall,     // name: the function
    kElement,  // name[value]: one element of an integer input
    kShape,    // name.shape[value]
    kItem,     // operand.item()
  };
  Kind kind = Kind::kNumber;
  double value = 0.0;
  std::string name;
  std::vector<std::shared_ptr<const Node>> operands;
  size_t begin = 0, end = 0;  // where in the text, so that a part of it can be quoted
};

using ExpressionNode = std::shared_ptr<const Expression::Node>;

// The tree of `text`, or an error that names the column.
Result<ExpressionNode> parse_expression(std::string_view text, std::string_view where);

}  // namespace fib
