#include "signatures/extension.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>

namespace fib {
namespace {

struct DistributionName {
  std::string_view name;
  Distribution::Kind kind;
  std::string_view a, b;  // how the file calls the two numbers; empty: it has none
};
constexpr DistributionName kDistributions[] = {
    {"default", Distribution::Kind::kDefault, "", ""},
    {"normal", Distribution::Kind::kNormal, "mean", "deviation"},
    {"uniform", Distribution::Kind::kUniform, "low", "high"},
    {"uniform_int", Distribution::Kind::kUniformInt, "low", "high"},
    {"bits", Distribution::Kind::kBits, "", ""},
};

struct SynthesisName {
  std::string_view name;
  Synthesis::Kind kind;
  std::string_view member;  // what it takes beside the kind; empty: nothing
};
constexpr SynthesisName kSyntheses[] = {
    {"indptr", Synthesis::Kind::kIndptr, "total"},
    {"page_table", Synthesis::Kind::kPageTable, "limit"},
    {"last_page_len", Synthesis::Kind::kLastPageLen, "limit"},
    {"routing", Synthesis::Kind::kRouting, "limit"},
    {"routing_weights", Synthesis::Kind::kRoutingWeights, ""},
    {"slots", Synthesis::Kind::kSlots, "limit"},
    {"positions", Synthesis::Kind::kPositions, "limit"},
    {"choice", Synthesis::Kind::kChoice, "values"},
};

// "a, b, c" of a table's names.
template <class Table>
std::string names_of(const Table& table) {
  std::string names;
  for (const auto& entry : table) {
    if (!names.empty()) names += ", ";
    names += entry.name;
  }
  return names;
}

template <class Table>
auto find_entry(const Table& table, std::string_view name) {
  return std::find_if(std::begin(table), std::end(table),
                      [&](const auto& entry) { return entry.name == name; });
}

class ExtensionReader {
 public:
  ExtensionReader(const Signature& signature, Strictness strictness)
      : signature_(signature), strictness_(strictness) {}

  Result<SignatureExtension> run(const JsonView& root) {
    FIB_CHECK(
        only_keys(root, {"reference", "parameters", "weights", "host_visible", "distributions",
                         "synthesis", "tolerances", "in_place", "capacity_axes", "cost",
                         "family"}));
    FIB_CHECK(root.object());
    if (const auto view = root.find("reference")) {
      fib_.reference = FIB_TRY(view->non_empty_string());
    }
    if (const auto view = root.find("family")) fib_.family = FIB_TRY(view->non_empty_string());
    if (const auto view = root.find("parameters")) FIB_CHECK(read_parameters(*view));
    if (const auto view = root.find("weights")) {
      fib_.weights = FIB_TRY(read_input_names(*view));
    }
    if (const auto view = root.find("host_visible")) {
      fib_.host_visible = FIB_TRY(read_input_names(*view));
      for (const std::string& name : fib_.host_visible) {
        if (!is_integer(signature_.find_input(name)->dtype)) {
          return view->error(fmt::format("'{}' is not an integer input", name),
                             "only integer inputs can be host-visible");
        }
      }
    }
    if (const auto view = root.find("distributions")) FIB_CHECK(read_distributions(*view));
    if (const auto view = root.find("synthesis")) FIB_CHECK(read_syntheses(*view));
    FIB_CHECK(read_tolerances(root));
    if (const auto view = root.find("in_place")) FIB_CHECK(read_in_place(*view));
    if (const auto view = root.find("capacity_axes")) FIB_CHECK(read_capacity_axes(*view));
    const JsonView cost = FIB_TRY(root.at("cost"));
    FIB_CHECK(read_cost(cost));
    return std::move(fib_);
  }

 private:
  Result<void> only_keys(const JsonView& view, std::initializer_list<std::string_view> keys) const {
    if (strictness_ == Strictness::kTolerant) return {};
    return view.only_keys(keys);
  }

  Result<const TensorSpec*> input(const std::string& name, const JsonView& view) const {
    const TensorSpec* found = signature_.find_input(name);
    if (found == nullptr) return view.error(fmt::format("there is no input '{}'", name));
    return found;
  }

  Result<void> read_parameters(const JsonView& view) {
    const auto members = FIB_TRY(view.object());
    for (const auto& [name, value] : members) {
      fib_.parameters[name] = FIB_TRY(value.number());
    }
    return {};
  }

  Result<std::vector<std::string>> read_input_names(const JsonView& view) const {
    const auto items = FIB_TRY(view.array());
    std::vector<std::string> names;
    for (const JsonView& item : items) {
      std::string name = FIB_TRY(item.string());
      FIB_CHECK(input(name, item));
      if (std::find(names.begin(), names.end(), name) != names.end()) {
        return item.error(fmt::format("'{}' stands here twice", name));
      }
      names.push_back(std::move(name));
    }
    return names;
  }

  // A number, or an expression over const axes and parameters.
  Result<double> constant(const JsonView& view) const {
    if (!view.json().is_string()) return view.number();
    struct Scope final : ExpressionScope {
      std::optional<double> axis(std::string_view name) const override {
        const Axis* found = reader->signature_.find_axis(name);
        if (found != nullptr && found->kind == Axis::Kind::kConst) {
          return static_cast<double>(found->value);
        }
        const auto parameter = reader->fib_.parameters.find(std::string(name));
        if (parameter == reader->fib_.parameters.end()) return std::nullopt;
        return parameter->second;
      }
      std::optional<std::span<const int64_t>> integers(std::string_view) const override {
        return std::nullopt;
      }
      std::optional<std::vector<int64_t>> shape(std::string_view) const override {
        return std::nullopt;
      }
      const ExtensionReader* reader = nullptr;
    } scope;
    scope.reader = this;
    const auto expression = FIB_TRY(Expression::parse(FIB_TRY(view.string()), view.location()));
    auto value = expression.evaluate(scope);
    if (!value) {
      return view.error(value.error().message, "numbers, const axes and parameters may be used");
    }
    return *value;
  }

  Result<void> read_distributions(const JsonView& view) {
    const auto members = FIB_TRY(view.object());
    for (const auto& [name, value] : members) {
      const TensorSpec* tensor = FIB_TRY(input(name, value));
      fib_.distributions[name] = FIB_TRY(read_distribution(value, *tensor));
    }
    return {};
  }

  Result<Distribution> read_distribution(const JsonView& view, const TensorSpec& tensor) const {
    const JsonView kind_view = FIB_TRY(view.at("kind"));
    const std::string kind = FIB_TRY(kind_view.string());
    const auto entry = find_entry(kDistributions, kind);
    if (entry == std::end(kDistributions)) {
      return kind_view.error(fmt::format("there is no distribution '{}'", kind),
                             fmt::format("one of {}", names_of(kDistributions)));
    }
    Distribution distribution;
    distribution.kind = entry->kind;
    if (entry->a.empty()) {
      FIB_CHECK(only_keys(view, {"kind"}));
    } else {
      FIB_CHECK(only_keys(view, {"kind", entry->a, entry->b}));
      distribution.a = FIB_TRY(constant(FIB_TRY(view.at(entry->a))));
      distribution.b = FIB_TRY(constant(FIB_TRY(view.at(entry->b))));
    }
    const bool is_real =
        entry->kind == Distribution::Kind::kNormal || entry->kind == Distribution::Kind::kUniform;
    if ((is_real && !is_floating(tensor.dtype)) ||
        (entry->kind == Distribution::Kind::kUniformInt && !is_integer(tensor.dtype))) {
      return kind_view.error(
          fmt::format("'{}' doesn't fit {} values", kind, dtype_name(tensor.dtype)));
    }
    if (entry->kind == Distribution::Kind::kNormal && distribution.b < 0.0) {
      return view.error("the deviation is negative");
    }
    if (entry->a == "low" && distribution.a > distribution.b) {
      return view.error("'low' is above 'high'");
    }
    return distribution;
  }

  Result<void> read_syntheses(const JsonView& view) {
    const auto members = FIB_TRY(view.object());
    for (const auto& [name, value] : members) {
      FIB_CHECK(input(name, value));
      fib_.synthesis[name] = FIB_TRY(read_synthesis(value, *signature_.find_input(name)));
    }
    return {};
  }

  Result<Synthesis> read_synthesis(const JsonView& view, const TensorSpec& tensor) const {
    const JsonView kind_view = FIB_TRY(view.at("kind"));
    const std::string kind = FIB_TRY(kind_view.string());
    const auto entry = find_entry(kSyntheses, kind);
    if (entry == std::end(kSyntheses)) {
      return kind_view.error(fmt::format("there is no synthesis '{}'", kind),
                             fmt::format("one of {}", names_of(kSyntheses)));
    }
    Synthesis synthesis;
    synthesis.kind = entry->kind;
    if (entry->member.empty()) {
      FIB_CHECK(only_keys(view, {"kind"}));
      return synthesis;
    }
    FIB_CHECK(only_keys(view, {"kind", entry->member}));
    if (entry->member == "limit") {
      const JsonView limit = FIB_TRY(view.at("limit"));
      synthesis.limit = FIB_TRY(limit.string());
      FIB_CHECK(check_expression(synthesis.limit, limit));
    } else if (entry->member == "total") {
      const JsonView total = FIB_TRY(view.at("total"));
      synthesis.total = FIB_TRY(total.string());
      if (signature_.find_axis(synthesis.total) == nullptr) {
        return total.error(fmt::format("there is no axis '{}'", synthesis.total));
      }
    } else {
      const JsonView values = FIB_TRY(view.at("values"));
      const auto items = FIB_TRY(values.array());
      if (items.empty()) return values.error("there is nothing to choose from");
      for (const JsonView& item : items) {
        const double value = FIB_TRY(item.number());
        if (is_integer(tensor.dtype) && value != std::floor(value)) {
          return item.error(
              fmt::format("{} doesn't fit {} values", value, dtype_name(tensor.dtype)));
        }
        synthesis.values.push_back(value);
      }
    }
    return synthesis;
  }

  Result<void> read_tolerances(const JsonView& root) {
    const JsonView view = FIB_TRY(root.at("tolerances"));
    const auto members = FIB_TRY(view.object());
    for (const auto& [name, value] : members) {
      if (signature_.find_output(name) == nullptr) {
        return value.error(fmt::format("there is no output '{}'", name));
      }
      fib_.tolerances[name] = FIB_TRY(read_tolerance(value, *signature_.find_output(name)));
    }
    for (const TensorSpec& output : signature_.outputs) {
      if (!fib_.tolerances.contains(output.name)) {
        return view.error(fmt::format("output '{}' has no tolerance", output.name));
      }
    }
    return {};
  }

  Result<Tolerance> read_tolerance(const JsonView& view, const TensorSpec& output) const {
    Tolerance tolerance;
    tolerance.reason = FIB_TRY(FIB_TRY(view.at("reason")).non_empty_string());
    if (const auto rule = view.find("judged_by")) {
      FIB_CHECK(only_keys(view, {"judged_by", "slack", "reason"}));
      const std::string name = FIB_TRY(rule->string());
      if (name != "distribution") {
        return rule->error(fmt::format("there is no rule '{}'", name),
                           "\"distribution\"; without judged_by, elements are compared");
      }
      if (!is_integer(output.dtype)) {
        return rule->error(
            fmt::format("{} values can't be judged as draws", dtype_name(output.dtype)),
            "draws are integers: token ids");
      }
      tolerance.rule = Tolerance::Rule::kDistribution;
      const JsonView slack = FIB_TRY(view.at("slack"));
      tolerance.slack = FIB_TRY(slack.number());
      if (!(tolerance.slack >= 0.0 && tolerance.slack < 1.0)) {
        return slack.error("it is a share of a probability: at least 0 and below 1");
      }
      return tolerance;
    }
    FIB_CHECK(only_keys(view, {"honest_factor", "max_error_rms", "reason"}));
    const JsonView factor = FIB_TRY(view.at("honest_factor"));
    tolerance.honest_factor = FIB_TRY(factor.number());
    if (!(tolerance.honest_factor >= 1.0)) {
      return factor.error("below 1 even the honest implementation would fail");
    }
    const JsonView bound = FIB_TRY(view.at("max_error_rms"));
    tolerance.max_error_rms = FIB_TRY(bound.number());
    if (!(tolerance.max_error_rms > 0.0)) return bound.error("it has to be above 0");
    return tolerance;
  }

  Result<void> read_in_place(const JsonView& view) {
    const auto members = FIB_TRY(view.object());
    for (const auto& [name, value] : members) {
      const TensorSpec* output = signature_.find_output(name);
      if (output == nullptr) return value.error(fmt::format("there is no output '{}'", name));
      const std::string source = FIB_TRY(value.string());
      const TensorSpec* from = FIB_TRY(input(source, value));
      if (from->dtype != output->dtype || from->shape != output->shape) {
        return value.error(fmt::format("'{}' and '{}' differ in shape or dtype", name, source),
                           "an output can only come with the content of an input like itself");
      }
      for (const auto& [other, taken] : fib_.in_place) {
        if (taken == source) {
          return value.error(fmt::format("'{}' already lies in the place of '{}'", other, source));
        }
      }
      fib_.in_place[name] = source;
    }
    return {};
  }

  Result<void> read_capacity_axes(const JsonView& view) {
    const auto items = FIB_TRY(view.array());
    for (const JsonView& item : items) {
      std::string name = FIB_TRY(item.string());
      const Axis* axis = signature_.find_axis(name);
      if (axis == nullptr) return item.error(fmt::format("there is no axis '{}'", name));
      if (axis->kind == Axis::Kind::kConst) {
        return item.error(fmt::format("'{}' doesn't vary", name), "capacities are var axes");
      }
      if (std::find(fib_.capacity_axes.begin(), fib_.capacity_axes.end(), name) !=
          fib_.capacity_axes.end()) {
        return item.error(fmt::format("'{}' stands here twice", name));
      }
      fib_.capacity_axes.push_back(std::move(name));
    }
    return {};
  }

  Result<void> check_expression(const std::string& text, const JsonView& view) const {
    const auto expression = FIB_TRY(Expression::parse(text, view.location()));
    for (const std::string& name : expression.names()) {
      if (signature_.find_axis(name) == nullptr && signature_.find_input(name) == nullptr) {
        return view.error(fmt::format("'{}' is neither an axis nor an input", name));
      }
    }
    return {};
  }

  Result<void> read_cost(const JsonView& view) {
    FIB_CHECK(only_keys(view, {"bytes", "flops", "math"}));
    const JsonView bytes = FIB_TRY(view.at("bytes"));
    fib_.cost.bytes = FIB_TRY(bytes.string());
    FIB_CHECK(check_expression(fib_.cost.bytes, bytes));
    const JsonView flops = FIB_TRY(view.at("flops"));
    fib_.cost.flops = FIB_TRY(flops.string());
    FIB_CHECK(check_expression(fib_.cost.flops, flops));
    const JsonView math = FIB_TRY(view.at("math"));
    fib_.cost.math = FIB_TRY(math.string());
    constexpr std::string_view kUnits[] = {"bf16_tensor", "fp16_tensor", "fp32"};
    if (std::find(std::begin(kUnits), std::end(kUnits), fib_.cost.math) == std::end(kUnits)) {
      return math.error(fmt::format("there is no unit '{}'", fib_.cost.math),
                        "one of bf16_tensor, fp16_tensor, fp32");
    }
    return {};
  }

  const Signature& signature_;
  Strictness strictness_;
  SignatureExtension fib_;
};

Json distribution_to_json(const Distribution& distribution) {
  const auto entry =
      std::find_if(std::begin(kDistributions), std::end(kDistributions),
                   [&](const DistributionName& name) { return name.kind == distribution.kind; });
  Json json = Json::object();
  json["kind"] = entry->name;
  if (!entry->a.empty()) {
    json[std::string(entry->a)] = distribution.a;
    json[std::string(entry->b)] = distribution.b;
  }
  return json;
}

Json synthesis_to_json(const Synthesis& synthesis) {
  const auto entry =
      std::find_if(std::begin(kSyntheses), std::end(kSyntheses),
                   [&](const SynthesisName& name) { return name.kind == synthesis.kind; });
  Json json = Json::object();
  json["kind"] = entry->name;
  if (entry->member == "limit") json["limit"] = synthesis.limit;
  if (entry->member == "total") json["total"] = synthesis.total;
  if (entry->member == "values") json["values"] = synthesis.values;
  return json;
}

Json tolerance_to_json(const Tolerance& tolerance) {
  if (tolerance.rule == Tolerance::Rule::kDistribution) {
    return {
        {"judged_by", "distribution"}, {"slack", tolerance.slack}, {"reason", tolerance.reason}};
  }
  return {{"honest_factor", tolerance.honest_factor},
          {"max_error_rms", tolerance.max_error_rms},
          {"reason", tolerance.reason}};
}

}  // namespace

Result<SignatureExtension> read_extension(const JsonView& view, const Signature& signature,
                                          Strictness strictness) {
  return ExtensionReader(signature, strictness).run(view);
}

Json extension_to_json(const SignatureExtension& extension) {
  Json json = Json::object();
  if (!extension.family.empty()) json["family"] = extension.family;
  if (!extension.reference.empty()) json["reference"] = extension.reference;
  if (!extension.parameters.empty()) json["parameters"] = extension.parameters;
  if (!extension.weights.empty()) json["weights"] = extension.weights;
  if (!extension.host_visible.empty()) json["host_visible"] = extension.host_visible;
  for (const auto& [input, distribution] : extension.distributions) {
    json["distributions"][input] = distribution_to_json(distribution);
  }
  for (const auto& [input, synthesis] : extension.synthesis) {
    json["synthesis"][input] = synthesis_to_json(synthesis);
  }
  for (const auto& [output, tolerance] : extension.tolerances) {
    json["tolerances"][output] = tolerance_to_json(tolerance);
  }
  if (!extension.in_place.empty()) json["in_place"] = extension.in_place;
  if (!extension.capacity_axes.empty()) json["capacity_axes"] = extension.capacity_axes;
  json["cost"] = {{"bytes", extension.cost.bytes},
                  {"flops", extension.cost.flops},
                  {"math", extension.cost.math}};
  return json;
}

}  // namespace fib
