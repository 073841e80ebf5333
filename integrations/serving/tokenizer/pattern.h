#pragma once

// Regular expressions over UTF-8, as tokenizers use them to cut text into words: PCRE2 with
// Unicode properties, compiled once and shared by any number of threads.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "signatures/base/result.h"

namespace fib {

struct TextRange {
  size_t begin = 0, end = 0;  // bytes
  bool operator==(const TextRange&) const = default;
};

class Pattern {
 public:
  enum class Syntax { kRegex, kLiteral };
  // kInvalidInput says what is wrong in `expression` and where.
  static Result<Pattern> compile(std::string_view expression, Syntax syntax);
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;
  ~Pattern();

  // What one thread needs to match; outlived by its pattern, used for one text after the other.
  class Matcher {
   public:
    explicit Matcher(const Pattern& pattern);
    Matcher(Matcher&&) noexcept;
    Matcher& operator=(Matcher&&) noexcept;
    ~Matcher();

    // All matches in `text` (valid UTF-8) from left to right; none overlaps another. An empty one
    // is found where no match has just ended. kInvalidInput where a text makes the expression
    // backtrack beyond all measure.
    Result<std::vector<TextRange>> find_all(std::string_view text) const;

   private:
    struct State;
    std::unique_ptr<const State> state_;
  };

 private:
  struct Code;
  explicit Pattern(std::unique_ptr<const Code> code);
  std::unique_ptr<const Code> code_;
};

}  // namespace fib
