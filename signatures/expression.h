#pragma once

// The small Python-like expression language of a Definition's `constraints` and of our cost models:
//   len_indptr == batch_size + 1
//   num_kv_indices == kv_indptr[-1].item()
//   4 * batch_size * hidden_size + 2 * distinct(topk_ids) * expert_bytes
// Grammar: integers and floats, names (axes, inputs), + - * / // % unary -, comparisons
// == != < <= > >= , `and or not`, parentheses, x[i], x[-1], x.item(), x.shape[i], and the
// functions len(x) sum(x) max min abs sqrt distinct(x) ceil_div(a, b) dot(x, y), where x or y may
// be diff(z), the differences of neighbours: dot(diff(qo_indptr), diff(kv_indptr)). Anything else is
// a parse error that names the column. `//` and `%` round towards minus infinity, as Python's do.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "signatures/base/result.h"

namespace fib {

// What an expression may ask its surroundings.
struct ExpressionScope {
  virtual ~ExpressionScope() = default;
  virtual std::optional<double> axis(std::string_view name) const = 0;
  // Values of an integer input, nullopt where they are not known (yet).
  virtual std::optional<std::span<const int64_t>> integers(std::string_view input) const = 0;
  virtual std::optional<std::vector<int64_t>> shape(std::string_view input) const = 0;
};

class Expression {
 public:
  struct Node;

  static Result<Expression> parse(std::string_view text, std::string_view where = {});

  const std::string& text() const { return text_; }
  const std::set<std::string>& names() const { return names_; }  // axes and inputs mentioned

  // Numbers; comparisons give 1 or 0. An unknown name is an error that names it.
  Result<double> evaluate(const ExpressionScope& scope) const;

  // If this is `axis == expression` (or the mirror image), the axis and the other side: constraints
  // of this form define the axis. Used to derive axes and to synthesise inputs.
  std::optional<std::pair<std::string, Expression>> as_axis_definition(
      const std::function<bool(std::string_view)>& is_axis) const;

  // If this is `axis == input[-1].item()` (or without .item(), or mirrored): axis and input.
  std::optional<std::pair<std::string, std::string>> as_last_element() const;

 private:
  std::string text_;
  std::set<std::string> names_;
  std::shared_ptr<const Node> root_;
};

}  // namespace fib
