#include "signatures/design_space_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "signatures/document.h"

namespace fib {
namespace {

// [A-Z][A-Z0-9_]*, and none of the harness's own.
bool is_tunable_name(std::string_view name) {
  return is_identifier(name) && name[0] >= 'A' && name[0] <= 'Z' && !name.starts_with("FIB_") &&
         std::none_of(name.begin(), name.end(), [](char c) { return c >= 'a' && c <= 'z'; });
}

Result<Tunable> read_tunable(const std::string& name, const JsonView& view) {
  if (!is_tunable_name(name)) {
    return view.error(fmt::format("tunable '{}' can't be a macro", name),
                      "capitals, digits and _ only, a letter first, not FIB_...");
  }
  FIB_CHECK(view.only_keys({"values", "initial", "about"}));
  Tunable tunable;
  tunable.name = name;
  const JsonView values = FIB_TRY(view.at("values"));
  const auto items = FIB_TRY(values.array());
  for (const JsonView& item : items) {
    const int64_t value = FIB_TRY(item.integer());
    if (std::find(tunable.values.begin(), tunable.values.end(), value) != tunable.values.end()) {
      return item.error(fmt::format("value {} is there twice", value));
    }
    tunable.values.push_back(value);
  }
  if (tunable.values.empty()) return values.error("a tunable needs at least one value");
  const JsonView initial = FIB_TRY(view.at("initial"));
  tunable.initial = FIB_TRY(initial.integer());
  if (std::find(tunable.values.begin(), tunable.values.end(), tunable.initial) ==
      tunable.values.end()) {
    return initial.error(fmt::format("{} is not one of the values", tunable.initial),
                         fmt::format("one of {}", dump_json(Json(tunable.values))));
  }
  if (const auto about = view.find("about")) tunable.about = FIB_TRY(about->string());
  return tunable;
}

Result<Expression> read_constraint(const JsonView& view, const std::vector<Tunable>& tunables) {
  const std::string text = FIB_TRY(view.non_empty_string());
  Expression constraint = FIB_TRY(Expression::parse(text, view.location()));
  std::vector<std::string> known;
  for (const Tunable& tunable : tunables) known.push_back(tunable.name);
  const auto& names = constraint.names();
  if (std::none_of(known.begin(), known.end(),
                   [&](const std::string& name) { return names.contains(name); })) {
    const std::string first = names.empty() ? std::string() : *names.begin();
    return view.error(fmt::format("'{}' speaks of no tunable", text),
                      did_you_mean(first, known, "leave it out: it excludes nothing"));
  }
  return constraint;
}

Result<Variation> read_variation(const std::string& name, const JsonView& view,
                                 const std::vector<std::string>& sources) {
  if (!is_plain_name(name)) {
    return view.error(fmt::format("variation '{}' can't be the name of a block", name),
                      "letters, digits and ._+- only");
  }
  FIB_CHECK(view.only_keys({"about", "alternatives"}));
  Variation variation;
  variation.name = name;
  if (const auto about = view.find("about")) variation.about = FIB_TRY(about->string());
  const JsonView alternatives = FIB_TRY(view.at("alternatives"));
  const auto members = FIB_TRY(alternatives.object());
  for (const auto& [key, member] : members) {
    if (!is_plain_name(key)) {
      return member.error(fmt::format("'{}' can't be the name of an alternative", key),
                          "letters, digits and ._+- only");
    }
    const std::string file = FIB_TRY(member.non_empty_string());
    if (std::find(sources.begin(), sources.end(), file) == sources.end()) {
      return member.error(fmt::format("'{}' is not among the sources", file),
                          did_you_mean(file, sources, "list it in 'sources'"));
    }
    variation.alternatives.push_back({key, file});
  }
  if (variation.alternatives.empty()) {
    return alternatives.error("a variation needs at least one alternative");
  }
  return variation;
}

// As the compiler reads it: 64 of "-DTILE=64", 1 of "-DTILE". Nothing if it isn't a number.
std::optional<int64_t> value_of_flag(std::string_view flag) {
  const size_t equals = flag.find('=');
  if (equals == std::string_view::npos) return 1;
  const std::string_view text = flag.substr(equals + 1);
  int64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

bool is_word_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

bool has_word(std::string_view text, std::string_view word) {
  for (size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    const size_t end = at + word.size();
    if ((at == 0 || !is_word_character(text[at - 1])) &&
        (end == text.size() || !is_word_character(text[end]))) {
      return true;
    }
  }
  return false;
}

// The number of each line `#define NAME 64`. Spellings that aren't plain numbers are passed over.
std::vector<int64_t> defined_values(std::string_view text, std::string_view name) {
  std::vector<int64_t> values;
  const std::string directive = fmt::format("#define {} ", name);
  for (size_t at = text.find(directive); at != std::string_view::npos;
       at = text.find(directive, at + 1)) {
    std::string_view rest = text.substr(at + directive.size());
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    int64_t value = 0;
    const char* const end = rest.data() + rest.size();
    const auto parsed = std::from_chars(rest.data(), end, value);
    const bool is_whole =
        parsed.ptr == end || std::string_view(" \r\n/").find(*parsed.ptr) != std::string_view::npos;
    if (parsed.ec == std::errc() && is_whole) values.push_back(value);
  }
  return values;
}

Result<void> check_macro(const Tunable& tunable, const std::vector<SourceFile>& sources,
                         const JsonView& view) {
  bool is_used = false;
  for (const SourceFile& source : sources) {
    is_used = is_used || has_word(source.content, tunable.name);
    for (const int64_t value : defined_values(source.content, tunable.name)) {
      if (value == tunable.initial) continue;
      return view.error(fmt::format("initial is {}, but '{}' defines {} as {}", tunable.initial,
                                    source.path, tunable.name, value),
                        "initial is what the sources have without a flag");
    }
  }
  if (is_used) return {};
  return view.error(
      fmt::format("no source mentions {}", tunable.name),
      fmt::format("#ifndef {0}, #define {0} {1}, #endif", tunable.name, tunable.initial));
}

Result<void> check_variation(const Variation& variation, const std::vector<SourceBlock>& blocks,
                             const JsonView& view) {
  std::vector<std::string> names;
  for (const SourceBlock& block : blocks) names.push_back(block.name);
  const auto own = std::find(names.begin(), names.end(), variation.name);
  if (own == names.end()) {
    return view.error(
        fmt::format("no source has the block '{}'", variation.name),
        did_you_mean(variation.name, names,
                     fmt::format("lines '// fib:block {0}' and '// fib:end {0}' around what is to "
                                 "be exchanged",
                                 variation.name)));
  }
  const JsonView alternatives = FIB_TRY(view.at("alternatives"));
  for (const Alternative& alternative : variation.alternatives) {
    for (const SourceBlock& block : blocks) {
      if (block.file != alternative.file) continue;
      return FIB_TRY(alternatives.at(alternative.name))
          .error(fmt::format("'{}' has a block itself", alternative.file),
                 "an alternative is what stands between the marks, without them");
    }
  }
  return {};
}

}  // namespace

Result<DesignSpace> read_design_space(const JsonView& manifest,
                                      const std::vector<std::string>& sources) {
  DesignSpace space;
  if (const auto tunables = manifest.find("tunables")) {
    const auto members = FIB_TRY(tunables->object());
    for (const auto& [name, view] : members) {
      space.tunables.push_back(FIB_TRY(read_tunable(name, view)));
    }
  }
  if (const auto constraints = manifest.find("constraints")) {
    const auto items = FIB_TRY(constraints->array());
    for (const JsonView& item : items) {
      space.constraints.push_back(FIB_TRY(read_constraint(item, space.tunables)));
    }
  }
  if (const auto variations = manifest.find("variations")) {
    const auto members = FIB_TRY(variations->object());
    for (const auto& [name, view] : members) {
      space.variations.push_back(FIB_TRY(read_variation(name, view, sources)));
    }
  }
  return space;
}

void write_design_space(const DesignSpace& space, Json& manifest) {
  for (const Tunable& tunable : space.tunables) {
    Json json = {{"values", tunable.values}, {"initial", tunable.initial}};
    if (!tunable.about.empty()) json["about"] = tunable.about;
    manifest["tunables"][tunable.name] = std::move(json);
  }
  for (const Expression& constraint : space.constraints) {
    manifest["constraints"].push_back(constraint.text());
  }
  for (const Variation& variation : space.variations) {
    Json json = Json::object();
    if (!variation.about.empty()) json["about"] = variation.about;
    for (const Alternative& alternative : variation.alternatives) {
      json["alternatives"][alternative.name] = alternative.file;
    }
    manifest["variations"][variation.name] = std::move(json);
  }
}

Result<void> check_design_space(const DesignSpace& space, const Solution& solution,
                                const JsonView& manifest) {
  for (const Tunable& tunable : space.tunables) {
    const JsonView view = FIB_TRY(FIB_TRY(manifest.at("tunables")).at(tunable.name));
    FIB_CHECK(check_macro(tunable, solution.sources, view));
  }
  if (!space.variations.empty()) {
    const std::vector<SourceBlock> blocks = FIB_TRY(source_blocks(solution));
    for (const Variation& variation : space.variations) {
      const JsonView view = FIB_TRY(FIB_TRY(manifest.at("variations")).at(variation.name));
      FIB_CHECK(check_variation(variation, blocks, view));
    }
  }
  FIB_CHECK(read_configuration(space, manifest));
  return {};
}

std::string_view macro_of_flag(std::string_view flag) {
  if (!flag.starts_with("-D")) return {};
  flag.remove_prefix(2);
  return flag.substr(0, flag.find('='));
}

Result<Configuration> read_configuration(const DesignSpace& space, const JsonView& manifest) {
  std::vector<JsonView> flags;
  if (const auto view = manifest.find("flags")) flags = FIB_TRY(view->array());
  std::vector<std::optional<int64_t>> set(space.tunables.size());
  for (const JsonView& view : flags) {
    const std::string flag = FIB_TRY(view.string());
    const auto tunable =
        std::find_if(space.tunables.begin(), space.tunables.end(),
                     [&](const Tunable& one) { return one.name == macro_of_flag(flag); });
    if (tunable == space.tunables.end()) continue;
    auto& value = set[static_cast<size_t>(tunable - space.tunables.begin())];
    if (value) return view.error(fmt::format("{} is set a second time", tunable->name));
    value = value_of_flag(flag);
    const auto& values = tunable->values;
    if (!value || std::find(values.begin(), values.end(), *value) == values.end()) {
      return view.error(fmt::format("'{}' is not a value of the tunable {}", flag, tunable->name),
                        fmt::format("one of {}", dump_json(Json(values))));
    }
  }
  Configuration configuration;
  for (size_t i = 0; i < set.size(); ++i) {
    configuration.push_back(set[i].value_or(space.tunables[i].initial));
  }
  return configuration;
}

}  // namespace fib
