#pragma once

// Cutting text into the words within which merges happen.

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "integrations/serving/tokenizer/pattern.h"
#include "signatures/base/json.h"

namespace fib {

// Words of a text; views of it, or of `made` where a step wrote text of its own.
struct Words {
  std::vector<std::string_view> words;
  std::deque<std::string> made;
};

class PreTokenizer {
 public:
  // From tokenizer.json's /pre_tokenizer: ByteLevel, or a sequence of Split and Digits that ends
  // with ByteLevel. kUnsupported names a step that is something else.
  static Result<PreTokenizer> read(const JsonView& view);

  // Cuts every word of `words` further.
  Result<void> apply(Words& words) const;

 private:
  enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
  struct Step {
    std::optional<Pattern> pattern;  // none: nothing is cut
    Behavior behavior = Behavior::kIsolated;
    bool is_inverted = false;        // what doesn't match is the separator
    bool adds_prefix_space = false;  // before anything is cut
  };
  struct Segment {
    TextRange range;
    bool is_match;
  };

  static Result<Step> read_byte_level(const JsonView& view);
  static Result<Step> read_split(const JsonView& view);
  static Result<Step> read_digits(const JsonView& view);
  static std::vector<TextRange> arrange(const std::vector<Segment>& segments, Behavior behavior);
  static Result<std::vector<TextRange>> cut(const Step& step, const Pattern::Matcher& matcher,
                                            std::string_view text);

  std::vector<Step> steps_;
};

}  // namespace fib
