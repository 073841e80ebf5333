#include "integrations/serving/tokenizer/pre_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>

namespace fib {
namespace {

// GPT-2's words, which ByteLevel cuts by itself unless use_regex is false.
constexpr std::string_view kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

Result<bool> flag(const JsonView& view, std::string_view key, bool otherwise) {
  const auto member = view.find(key);
  return member ? member->boolean() : Result<bool>(otherwise);
}

Result<Pattern> compile(const JsonView& view, std::string_view text, Pattern::Syntax syntax) {
  Result<Pattern> pattern = Pattern::compile(text, syntax);
  if (!pattern) return view.error(pattern.error().message);
  return pattern;
}

}  // namespace

Result<PreTokenizer> PreTokenizer::read(const JsonView& view) {
  std::vector<JsonView> views = {view};
  const JsonView type = FIB_TRY(view.at("type"));
  if (FIB_TRY(type.string()) == "Sequence") {
    const JsonView list = FIB_TRY(view.at("pretokenizers"));
    views = FIB_TRY(list.array());
  }
  PreTokenizer made;
  bool is_byte_level = false;
  for (const JsonView& step : views) {
    const JsonView step_type = FIB_TRY(step.at("type"));
    const std::string name = FIB_TRY(step_type.string());
    if (is_byte_level)
      return fail(ErrorCode::kUnsupported, fmt::format("a '{}' step after ByteLevel", name),
                  step_type.location());
    if (name == "ByteLevel") {
      made.steps_.push_back(FIB_TRY(read_byte_level(step)));
      is_byte_level = true;
    } else if (name == "Split") {
      made.steps_.push_back(FIB_TRY(read_split(step)));
    } else if (name == "Digits") {
      made.steps_.push_back(FIB_TRY(read_digits(step)));
    } else {
      return fail(ErrorCode::kUnsupported, fmt::format("pre-tokenizer '{}'", name),
                  step_type.location(), "known are Split, Digits and ByteLevel");
    }
  }
  if (!is_byte_level)
    return fail(ErrorCode::kUnsupported, "no ByteLevel step", view.location(),
                "only byte-level BPE tokenizers are read");
  return made;
}

Result<PreTokenizer::Step> PreTokenizer::read_byte_level(const JsonView& view) {
  Step step;
  step.adds_prefix_space = FIB_TRY(flag(view, "add_prefix_space", true));
  if (FIB_TRY(flag(view, "use_regex", true)))
    step.pattern = FIB_TRY(compile(view, kByteLevelPattern, Pattern::Syntax::kRegex));
  return step;
}

Result<PreTokenizer::Step> PreTokenizer::read_split(const JsonView& view) {
  struct Name {
    std::string_view name;
    Behavior behavior;
  };
  constexpr Name kBehaviors[] = {{"Removed", Behavior::kRemoved},
                                 {"Isolated", Behavior::kIsolated},
                                 {"MergedWithPrevious", Behavior::kMergedWithPrevious},
                                 {"MergedWithNext", Behavior::kMergedWithNext},
                                 {"Contiguous", Behavior::kContiguous}};
  Step step;
  const JsonView behavior = FIB_TRY(view.at("behavior"));
  const std::string name = FIB_TRY(behavior.string());
  const auto* known = std::ranges::find(kBehaviors, name, &Name::name);
  if (known == std::end(kBehaviors))
    return behavior.error(fmt::format("unknown behavior '{}'", name));
  step.behavior = known->behavior;
  step.is_inverted = FIB_TRY(flag(view, "invert", false));

  const JsonView pattern = FIB_TRY(view.at("pattern"));
  const auto regex = pattern.find("Regex");
  const JsonView text = regex ? *regex : FIB_TRY(pattern.at("String"));
  step.pattern = FIB_TRY(compile(text, FIB_TRY(text.non_empty_string()),
                                 regex ? Pattern::Syntax::kRegex : Pattern::Syntax::kLiteral));
  return step;
}

Result<PreTokenizer::Step> PreTokenizer::read_digits(const JsonView& view) {
  Step step;
  const bool is_each_alone = FIB_TRY(flag(view, "individual_digits", false));
  step.pattern =
      FIB_TRY(compile(view, is_each_alone ? "\\p{N}" : "\\p{N}+", Pattern::Syntax::kRegex));
  return step;
}

std::vector<TextRange> PreTokenizer::arrange(const std::vector<Segment>& segments,
                                             Behavior behavior) {
  std::vector<TextRange> ranges;
  bool was_match = false;
  switch (behavior) {
    case Behavior::kRemoved:
      for (const Segment& segment : segments)
        if (!segment.is_match) ranges.push_back(segment.range);
      break;
    case Behavior::kIsolated:
      for (const Segment& segment : segments) ranges.push_back(segment.range);
      break;
    case Behavior::kMergedWithPrevious:
      for (const auto& [range, is_match] : segments) {
        if (is_match && !was_match && !ranges.empty()) {
          ranges.back().end = range.end;
        } else {
          ranges.push_back(range);
        }
        was_match = is_match;
      }
      break;
    case Behavior::kMergedWithNext:
      for (auto segment = segments.rbegin(); segment != segments.rend(); ++segment) {
        if (segment->is_match && !was_match && !ranges.empty()) {
          ranges.back().begin = segment->range.begin;
        } else {
          ranges.push_back(segment->range);
        }
        was_match = segment->is_match;
      }
      std::ranges::reverse(ranges);
      break;
    case Behavior::kContiguous:
      for (const auto& [range, is_match] : segments) {
        if (is_match == was_match && !ranges.empty()) {
          ranges.back().end = range.end;
        } else {
          ranges.push_back(range);
        }
        was_match = is_match;
      }
      break;
  }
  return ranges;
}

Result<std::vector<TextRange>> PreTokenizer::cut(const Step& step, const Pattern::Matcher& matcher,
                                                 std::string_view text) {
  std::vector<Segment> segments;
  size_t end = 0;
  for (const TextRange& match : FIB_TRY(matcher.find_all(text))) {
    if (match.begin > end) segments.push_back({{end, match.begin}, step.is_inverted});
    segments.push_back({match, !step.is_inverted});
    end = match.end;
  }
  if (end < text.size()) segments.push_back({{end, text.size()}, step.is_inverted});
  return arrange(segments, step.behavior);
}

Result<void> PreTokenizer::apply(Words& words) const {
  for (const Step& step : steps_) {
    if (step.adds_prefix_space)
      for (std::string_view& word : words.words)
        if (!word.starts_with(' ')) word = words.made.emplace_back(" " + std::string(word));
    if (!step.pattern) continue;
    const Pattern::Matcher matcher(*step.pattern);
    std::vector<std::string_view> cut_words;
    for (const std::string_view word : words.words)
      for (const TextRange& range : FIB_TRY(cut(step, matcher, word)))
        if (range.end > range.begin)
          cut_words.push_back(word.substr(range.begin, range.end - range.begin));
    words.words = std::move(cut_words);
  }
  return {};
}

}  // namespace fib
