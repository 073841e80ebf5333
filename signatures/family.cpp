#include "signatures/family.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "signatures/document.h"

namespace fib {
namespace {

// What stands in a family file, read but not expanded.
struct Family {
  std::filesystem::path file;
  std::string name;
  std::string pattern;  // "rmsnorm_h{hidden_size}"
  Json document;        // the template
  struct Instance {
    std::map<std::string, int64_t> axes;
    Json parameters = Json::object();
    std::string description;
    std::vector<std::string> tags;
    std::string pointer;  // where it stands in the file
  };
  std::vector<Instance> instances;
};

std::string located(const Family& family, std::string_view pointer) {
  return fmt::format("{}: {}", family.file.string(), pointer);
}

Result<Family::Instance> read_instance(const JsonView& view, std::string pointer) {
  FIB_CHECK(view.only_keys({"axes", "parameters", "description", "tags"}));
  Family::Instance instance;
  instance.pointer = std::move(pointer);
  const auto axes = FIB_TRY(FIB_TRY(view.at("axes")).object());
  for (const auto& [axis, value] : axes) instance.axes[axis] = FIB_TRY(value.integer());
  if (const auto parameters = view.find("parameters")) {
    const auto members = FIB_TRY(parameters->object());
    for (const auto& [name, value] : members) {
      FIB_CHECK(value.number());
      instance.parameters[name] = value.json();
    }
  }
  if (const auto description = view.find("description")) {
    instance.description = FIB_TRY(description->string());
  }
  if (const auto tags = view.find("tags")) instance.tags = FIB_TRY(tags->strings());
  return instance;
}

// Lines of the reference stand one an array element, so that the file reads like source.
Result<void> join_reference(Json& document, const JsonView& view) {
  const JsonView reference = FIB_TRY(view.at("reference"));
  std::string text;
  const auto lines = FIB_TRY(reference.strings());
  for (const std::string& line : lines) text += line + "\n";
  document["reference"] = text;
  return {};
}

Result<Family> load_family(const std::filesystem::path& file) {
  const Json json = FIB_TRY(read_json_file(file));
  const JsonView root(json, file.string());
  FIB_CHECK(root.only_keys({"family", "name", "template", "instances"}));
  Family family;
  family.file = file;
  family.name = FIB_TRY(FIB_TRY(root.at("family")).non_empty_string());
  family.pattern = FIB_TRY(FIB_TRY(root.at("name")).non_empty_string());
  const JsonView document = FIB_TRY(root.at("template"));
  family.document = document.json();
  FIB_CHECK(join_reference(family.document, document));
  for (const char* key : {"axes", "fib"}) {
    const JsonView part = FIB_TRY(document.at(key));
    FIB_CHECK(part.object());
  }
  const auto instances = FIB_TRY(FIB_TRY(root.at("instances")).array());
  for (size_t i = 0; i < instances.size(); ++i) {
    family.instances.push_back(
        FIB_TRY(read_instance(instances[i], fmt::format("/instances/{}", i))));
  }
  return family;
}

// `{name}` becomes the value of an axis or a parameter; other braces are left as they are, because
// references are Python.
std::string substitute(std::string_view text, const std::map<std::string, std::string>& values) {
  std::string result;
  while (!text.empty()) {
    const size_t open = text.find('{');
    result += text.substr(0, open);
    if (open == std::string_view::npos) break;
    text.remove_prefix(open);
    const size_t close = text.find('}');
    const auto value = close == std::string_view::npos
                           ? values.end()
                           : values.find(std::string(text.substr(1, close - 1)));
    const size_t taken = value == values.end() ? 1 : close + 1;
    result += value == values.end() ? std::string_view("{") : std::string_view(value->second);
    text.remove_prefix(taken);
  }
  return result;
}

struct SolvedAxes final : ExpressionScope {
  std::optional<double> axis(std::string_view name) const override {
    const auto it = values.find(std::string(name));
    if (it == values.end()) return std::nullopt;
    return static_cast<double>(it->second);
  }
  std::optional<std::span<const int64_t>> integers(std::string_view) const override {
    return std::nullopt;
  }
  std::optional<std::vector<int64_t>> shape(std::string_view) const override {
    return std::nullopt;
  }
  std::map<std::string, int64_t> values;
};

bool is_const(const Json& axis) {
  return axis.is_object() && axis.contains("type") && axis["type"] == "const";
}

// Fills in the const axes: from the instance, or from an expression over axes above them.
Result<SolvedAxes> solve_axes(Json& axes, const Family& family, const Family::Instance& instance) {
  SolvedAxes solved;
  for (const auto& [name, value] : instance.axes) {
    const auto axis = axes.find(name);
    if (axis == axes.end() || !is_const(*axis)) {
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("the template has no const axis '{}'", name),
                  located(family, instance.pointer + "/axes/" + name));
    }
    if (axis->contains("value") && (*axis)["value"] != value) {
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("the template fixes axis '{}' at {}, not {}", name,
                              dump_json((*axis)["value"]), value),
                  located(family, instance.pointer + "/axes/" + name));
    }
    (*axis)["value"] = value;
  }
  for (auto& [name, axis] : axes.items()) {
    const std::string pointer = "/template/axes/" + name;
    if (!is_const(axis)) continue;
    if (!axis.contains("value")) {
      return fail(ErrorCode::kInvalidInput, fmt::format("axis '{}' has no value", name),
                  located(family, instance.pointer + "/axes"),
                  "give it one in the instance or in the template");
    }
    if (axis["value"].is_string()) {
      const auto expression = FIB_TRY(
          Expression::parse(axis["value"].get<std::string>(), located(family, pointer + "/value")));
      auto value = expression.evaluate(solved);
      if (!value) {
        return fail(ErrorCode::kInvalidInput, value.error().message,
                    located(family, pointer + "/value"), "only const axes above it may be used");
      }
      // A fraction stays one and is refused when the definition is read.
      const auto whole = static_cast<int64_t>(*value);
      axis["value"] = static_cast<double>(whole) == *value ? Json(whole) : Json(*value);
    }
    if (axis["value"].is_number()) {
      solved.values[name] = static_cast<int64_t>(axis["value"].get<double>());
    }
  }
  return solved;
}

std::string text_of(const Json& object, const char* key) {
  return object.contains(key) && object[key].is_string() ? object[key].get<std::string>() : "";
}

Result<Signature> expand(const Family& family, const Family::Instance& instance) {
  Json document = family.document;
  const SolvedAxes solved = FIB_TRY(solve_axes(document["axes"], family, instance));
  std::map<std::string, std::string> values;
  for (const auto& [name, value] : solved.values) values[name] = std::to_string(value);
  Json& fib = document["fib"];
  for (const auto& [name, value] : instance.parameters.items()) {
    if (!fib.contains("parameters") || !fib["parameters"].contains(name)) {
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("the template has no parameter '{}'", name),
                  located(family, instance.pointer + "/parameters/" + name));
    }
    fib["parameters"][name] = value;
  }
  if (fib.contains("parameters") && fib["parameters"].is_object()) {
    for (const auto& [name, value] : fib["parameters"].items()) values[name] = dump_json(value);
  }
  fib["family"] = family.name;

  Json result = Json::object();
  result["name"] = substitute(family.pattern, values);
  result.update(document);
  for (const char* key : {"description", "reference"}) {
    if (result.contains(key) && result[key].is_string()) {
      result[key] = substitute(text_of(result, key), values);
    }
  }
  if (!instance.description.empty()) {
    result["description"] = text_of(result, "description") + " " + instance.description;
  }
  if (!instance.tags.empty() && !result.contains("tags")) result["tags"] = Json::array();
  for (const std::string& tag : instance.tags) {
    if (result["tags"].is_array()) result["tags"].push_back(tag);
  }
  const std::string where =
      fmt::format("{} ({})", family.file.string(), result["name"].get<std::string>());
  Signature signature = FIB_TRY(signature_from_json(result, where, Strictness::kStrict));
  signature.file = family.file;
  return signature;
}

// The numbers that stand where the pattern has `{axis}`, or nothing if `name` doesn't fit.
std::optional<std::map<std::string, int64_t>> match(std::string_view pattern,
                                                    std::string_view name) {
  std::map<std::string, int64_t> axes;
  while (!pattern.empty()) {
    if (pattern[0] != '{') {
      if (name.empty() || name[0] != pattern[0]) return std::nullopt;
      pattern.remove_prefix(1);
      name.remove_prefix(1);
      continue;
    }
    const size_t close = pattern.find('}');
    if (close == std::string_view::npos) return std::nullopt;
    int64_t value = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), value);
    const size_t digits = static_cast<size_t>(parsed.ptr - name.data());
    // "007" and "-7" are other names for 7; an instance has one name.
    const bool is_canonical = parsed.ec == std::errc() && value >= 0 && name[0] != '-' &&
                              (digits == 1 || name[0] != '0');
    if (!is_canonical) return std::nullopt;
    axes[std::string(pattern.substr(1, close - 1))] = value;
    pattern.remove_prefix(close + 1);
    name.remove_prefix(digits);
  }
  if (!name.empty()) return std::nullopt;
  return axes;
}

}  // namespace

Result<std::vector<Signature>> read_family(const std::filesystem::path& file) {
  const Family family = FIB_TRY(load_family(file));
  std::vector<Signature> signatures;
  for (const Family::Instance& instance : family.instances) {
    Signature signature = FIB_TRY(expand(family, instance));
    for (const Signature& other : signatures) {
      if (other.name == signature.name) {
        return fail(ErrorCode::kConflict, fmt::format("'{}' is listed twice", signature.name),
                    located(family, instance.pointer));
      }
    }
    signatures.push_back(std::move(signature));
  }
  return signatures;
}

bool fits_pattern(std::string_view pattern, std::string_view name) {
  return match(pattern, name).has_value();
}

Result<Signature> instantiate_by_name(const std::filesystem::path& file, std::string_view name) {
  const Family family = FIB_TRY(load_family(file));
  const auto axes = match(family.pattern, name);
  if (!axes) {
    return fail(ErrorCode::kNotFound,
                fmt::format("'{}' doesn't fit the pattern '{}'", name, family.pattern),
                file.string());
  }
  for (const Family::Instance& instance : family.instances) {
    const auto is_named = [&](const auto& axis) {
      const auto it = axes->find(axis.first);
      return it != axes->end() && it->second == axis.second;
    };
    if (std::all_of(instance.axes.begin(), instance.axes.end(), is_named)) {
      Signature listed = FIB_TRY(expand(family, instance));
      // The name may still disagree with an axis that the template fixes.
      if (listed.name == name) return listed;
    }
  }
  Family::Instance instance;
  instance.axes = *axes;
  instance.pointer = fmt::format("(the name '{}')", name);
  return expand(family, instance);
}

}  // namespace fib
