// From JSON to a checked Signature. The rules are those of docs/formats.md, "Definition".

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "signatures/document.h"
#include "signatures/extension.h"
#include "signatures/signature.h"

namespace fib {
namespace {

// Seen under `axes/*/value`: 8, 8.0 and, in old files, "8".
Result<int64_t> read_axis_value(const JsonView& view, Strictness strictness) {
  int64_t value = 0;
  if (view.json().is_string() && strictness == Strictness::kTolerant) {
    const std::string text = FIB_TRY(view.string());
    const char* const end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, value);
    if (parsed.ec != std::errc() || parsed.ptr != end) {
      return view.error(fmt::format("'{}' is not an integer", text));
    }
  } else {
    value = FIB_TRY(view.integer());
  }
  if (value < 0) return view.error(fmt::format("an axis can't have the negative size {}", value));
  return value;
}

Result<Axis> read_axis(const std::string& name, const JsonView& view, Strictness strictness) {
  if (!is_identifier(name)) {
    return view.error(fmt::format("axis name '{}' is not an identifier", name));
  }
  if (strictness == Strictness::kStrict) {
    FIB_CHECK(view.only_keys({"type", "value", "parent", "description"}));
  }
  FIB_CHECK(view.object());
  Axis axis;
  axis.name = name;
  if (const auto description = view.find("description")) {
    axis.description = FIB_TRY(description->string());
  }
  if (const auto parent = view.find("parent")) axis.parent = FIB_TRY(parent->string());
  const auto value = view.find("value");
  std::string type = value ? "const" : "var";
  if (const auto given = view.find("type")) {
    type = FIB_TRY(given->string());
    if (type != "const" && type != "var") {
      return given->error(fmt::format("axis type '{}'", type), "it is \"const\" or \"var\"");
    }
  } else if (strictness == Strictness::kStrict) {
    return view.error("'type' is missing", "add \"type\": \"const\" or \"var\"");
  }
  if (type == "const") {
    axis.kind = Axis::Kind::kConst;
    axis.value = FIB_TRY(read_axis_value(FIB_TRY(view.at("value")), strictness));
  } else if (value) {
    return value->error("a var axis has no value", "make it \"type\": \"const\"");
  }
  return axis;
}

Result<TensorSpec> read_tensor(const std::string& name, const JsonView& view,
                               const Signature& signature, Strictness strictness) {
  if (!is_identifier(name)) {
    return view.error(fmt::format("tensor name '{}' is not an identifier", name));
  }
  if (strictness == Strictness::kStrict) {
    FIB_CHECK(view.only_keys({"shape", "dtype", "description"}));
  }
  TensorSpec tensor;
  tensor.name = name;
  FIB_CHECK(view.object());
  if (!view.contains("shape")) {
    return view.error("'shape' is missing",
                      "a list of axis names, [] for a 0-D tensor or null for a host scalar");
  }
  if (const auto shape = view.find("shape")) {
    tensor.shape.emplace();
    const auto dimensions = FIB_TRY(shape->array());
    for (const JsonView& dimension : dimensions) {
      std::string axis = FIB_TRY(dimension.string());
      if (signature.find_axis(axis) == nullptr) {
        std::vector<std::string> names;
        for (const Axis& known : signature.axes) names.push_back(known.name);
        return dimension.error(fmt::format("axis '{}' is not declared", axis),
                               did_you_mean(axis, names, "declare it under /axes"));
      }
      tensor.shape->push_back(std::move(axis));
    }
  }
  const JsonView dtype = FIB_TRY(view.at("dtype"));
  const std::string dtype_text = FIB_TRY(dtype.string());
  const auto parsed = dtype_from_name(dtype_text);
  if (!parsed) {
    std::vector<std::string> names;
    for (int i = 0; i < kDTypeCount; ++i) names.emplace_back(dtype_name(static_cast<DType>(i)));
    return dtype.error(
        fmt::format("there is no dtype '{}'", dtype_text),
        did_you_mean(dtype_text, names, fmt::format("one of {}", fmt::join(names, ", "))));
  }
  tensor.dtype = *parsed;
  if (const auto description = view.find("description")) {
    tensor.description = FIB_TRY(description->string());
  }
  return tensor;
}

// A line that starts with `def run(`: textual, because nothing here executes Python.
bool defines_run(std::string_view source) {
  return source.starts_with("def run(") || source.find("\ndef run(") != std::string_view::npos;
}

Result<void> check_names(const Signature& signature, const JsonView& root) {
  for (const TensorSpec& output : signature.outputs) {
    if (signature.find_input(output.name) != nullptr) {
      return FIB_TRY(FIB_TRY(root.at("outputs")).at(output.name))
          .error(fmt::format("'{}' is an input and an output", output.name),
                 "outputs are written to memory of their own; rename one");
    }
  }
  return {};
}

// Constraints between const axes are facts about the definition itself.
struct ConstAxes final : ExpressionScope {
  explicit ConstAxes(const Signature& s) : signature(s) {}
  std::optional<double> axis(std::string_view name) const override {
    const Axis* found = signature.find_axis(name);
    if (found == nullptr || found->kind != Axis::Kind::kConst) return std::nullopt;
    return static_cast<double>(found->value);
  }
  std::optional<std::span<const int64_t>> integers(std::string_view) const override {
    return std::nullopt;
  }
  std::optional<std::vector<int64_t>> shape(std::string_view) const override {
    return std::nullopt;
  }
  const Signature& signature;
};

Result<void> read_constraints(Signature& signature, const JsonView& root, Strictness strictness) {
  const auto view = root.find("constraints");
  if (!view) return {};
  const ConstAxes scope(signature);
  const auto items = FIB_TRY(view->array());
  for (const JsonView& item : items) {
    const std::string text = FIB_TRY(item.string());
    Expression constraint = FIB_TRY(Expression::parse(text, item.location()));
    for (const std::string& name : constraint.names()) {
      const bool is_known =
          signature.find_axis(name) != nullptr || signature.find_input(name) != nullptr;
      if (!is_known && strictness == Strictness::kStrict) {
        return item.error(fmt::format("'{}' is neither an axis nor an input", name));
      }
    }
    const bool is_const =
        std::all_of(constraint.names().begin(), constraint.names().end(),
                    [&](const std::string& name) { return scope.axis(name).has_value(); });
    if (is_const && strictness == Strictness::kStrict) {
      auto value = constraint.evaluate(scope);
      if (!value) return item.error(value.error().message);
      if (*value == 0.0) {
        return item.error(fmt::format("'{}' is false for these axes", constraint.text()));
      }
    }
    signature.constraints.push_back(std::move(constraint));
  }
  return {};
}

Result<Signature> read_document(const JsonView& root, Strictness strictness) {
  const bool is_strict = strictness == Strictness::kStrict;
  if (is_strict) {
    FIB_CHECK(root.only_keys({"name", "op_type", "description", "tags", "axes", "constraints",
                              "inputs", "outputs", "reference", "fib"}));
  }
  Signature signature;
  const JsonView name = FIB_TRY(root.at("name"));
  signature.name = FIB_TRY(name.non_empty_string());
  if (!is_plain_name(signature.name)) {
    return name.error(fmt::format("name '{}' can't be a file name", signature.name),
                      "letters, digits and ._+- only, not starting with a dot");
  }
  const bool is_old_schema = !is_strict && !root.contains("op_type") && root.contains("type");
  signature.op_type = FIB_TRY(FIB_TRY(root.at(is_old_schema ? "type" : "op_type")).non_empty_string());
  if (const auto view = root.find("description")) signature.description = FIB_TRY(view->string());
  if (const auto view = root.find("tags")) signature.tags = FIB_TRY(view->strings());

  const auto axes = FIB_TRY(FIB_TRY(root.at("axes")).object());
  for (const auto& [axis, view] : axes) {
    signature.axes.push_back(FIB_TRY(read_axis(axis, view, strictness)));
  }
  const auto inputs = FIB_TRY(FIB_TRY(root.at("inputs")).object());
  for (const auto& [input, view] : inputs) {
    signature.inputs.push_back(FIB_TRY(read_tensor(input, view, signature, strictness)));
  }
  const JsonView outputs_view = FIB_TRY(root.at("outputs"));
  const auto outputs = FIB_TRY(outputs_view.object());
  for (const auto& [output, view] : outputs) {
    signature.outputs.push_back(FIB_TRY(read_tensor(output, view, signature, strictness)));
    if (!signature.outputs.back().shape && is_strict) {
      return view.error("an output can't be a host scalar", "give it the shape []");
    }
  }
  if (outputs.empty() && is_strict) return outputs_view.error("nothing is computed: no outputs");
  FIB_CHECK(check_names(signature, root));

  const JsonView reference = FIB_TRY(root.at("reference"));
  signature.reference = FIB_TRY(reference.string());
  if (!defines_run(signature.reference)) {
    return reference.error("no top-level function `run`",
                           "a line of the reference has to start with `def run(`");
  }
  FIB_CHECK(read_constraints(signature, root, strictness));

  if (const auto fib = root.find("fib")) {
    signature.has_fib_key = true;
    signature.fib = FIB_TRY(read_extension(*fib, signature, strictness));
  } else {
    signature.fib = infer_extension(signature);
  }
  return signature;
}

}  // namespace

Result<Signature> signature_from_json(const Json& json, std::string_view where,
                                      Strictness strictness) {
  Signature signature = FIB_TRY(read_document(JsonView(json, std::string(where)), strictness));
  signature.original = json;
  return signature;
}

Result<Signature> read_signature(const std::filesystem::path& file, Strictness strictness) {
  const Json json = FIB_TRY(read_json_file(file));
  Signature signature = FIB_TRY(signature_from_json(json, file.string(), strictness));
  signature.file = file;
  return signature;
}

}  // namespace fib
