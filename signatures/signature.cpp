#include "signatures/signature.h"

#include <algorithm>

#include "signatures/document.h"

namespace fib {
namespace {

template <class T>
const T* find_named(const std::vector<T>& items, std::string_view name) {
  const auto it =
      std::find_if(items.begin(), items.end(), [&](const T& item) { return item.name == name; });
  return it == items.end() ? nullptr : &*it;
}

bool has_name(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Json axis_to_json(const Axis& axis, const Json& original) {
  Json json = Json::object();
  const bool is_const = axis.kind == Axis::Kind::kConst;
  json["type"] = is_const ? "const" : "var";
  if (is_const) json["value"] = axis.value;
  if (axis.parent) json["parent"] = *axis.parent;
  if (axis.description) json["description"] = *axis.description;
  return overlay(original, json, {"type", "value", "parent", "description"});
}

Json tensors_to_json(const std::vector<TensorSpec>& tensors, const Json& original) {
  Json json = Json::object();
  for (const TensorSpec& tensor : tensors) {
    Json spec = Json::object();
    spec["shape"] = tensor.shape ? Json(*tensor.shape) : Json(nullptr);
    spec["dtype"] = dtype_name(tensor.dtype);
    if (tensor.description) spec["description"] = *tensor.description;
    json[tensor.name] =
        overlay(member(original, tensor.name), spec, {"shape", "dtype", "description"});
  }
  return json;
}

}  // namespace

const Axis* Signature::find_axis(std::string_view axis) const { return find_named(axes, axis); }
const TensorSpec* Signature::find_input(std::string_view input) const {
  return find_named(inputs, input);
}
const TensorSpec* Signature::find_output(std::string_view output) const {
  return find_named(outputs, output);
}
bool Signature::is_weight(std::string_view input) const { return has_name(fib.weights, input); }
bool Signature::is_host_visible(std::string_view input) const {
  return has_name(fib.host_visible, input);
}
bool Signature::is_capacity(std::string_view axis) const {
  return has_name(fib.capacity_axes, axis);
}
double Signature::parameter(std::string_view parameter, double fallback) const {
  const auto it = fib.parameters.find(std::string(parameter));
  return it == fib.parameters.end() ? fallback : it->second;
}

Json signature_to_json(const Signature& signature) {
  const Json& original = signature.original;
  Json json = Json::object();
  json["name"] = signature.name;
  json["op_type"] = signature.op_type;
  if (signature.description) json["description"] = *signature.description;
  if (!signature.tags.empty() || original.contains("tags")) json["tags"] = signature.tags;
  Json axes = Json::object();
  for (const Axis& axis : signature.axes) {
    axes[axis.name] = axis_to_json(axis, member(member(original, "axes"), axis.name));
  }
  json["axes"] = std::move(axes);
  if (!signature.constraints.empty() || original.contains("constraints")) {
    Json constraints = Json::array();
    for (const Expression& constraint : signature.constraints) {
      constraints.push_back(constraint.text());
    }
    json["constraints"] = std::move(constraints);
  }
  json["inputs"] = tensors_to_json(signature.inputs, member(original, "inputs"));
  json["outputs"] = tensors_to_json(signature.outputs, member(original, "outputs"));
  json["reference"] = signature.reference;
  if (signature.has_fib_key) {
    // Verbatim where there is an original: an expression in it stays an expression.
    json["fib"] = original.contains("fib") ? original["fib"] : extension_to_json(signature.fib);
  }
  // The oldest files say `type` for `op_type`; that key goes.
  return overlay(original, json,
                 {"name", "op_type", "type", "description", "tags", "axes", "constraints",
                  "inputs", "outputs", "reference", "fib"});
}

}  // namespace fib
