// Workload documents: docs/formats.md, "Workload".

#include <fmt/format.h>

#include "signatures/base/file.h"
#include "signatures/document.h"
#include "signatures/trace.h"

namespace fib {
namespace {

Result<InputSpec> read_scalar(const JsonView& view) {
  const JsonView value = FIB_TRY(view.at("value"));
  const Json& json = value.json();
  if (json.is_boolean()) return ScalarInput{json.get<bool>()};
  if (json.is_number_integer()) return ScalarInput{FIB_TRY(value.integer())};
  return ScalarInput{FIB_TRY(value.number())};
}

Result<InputSpec> read_input(const JsonView& view, Strictness strictness) {
  FIB_CHECK(view.object());
  std::string type;
  if (const auto given = view.find("type")) {
    type = FIB_TRY(given->string());
  } else if (strictness == Strictness::kStrict) {
    return view.error("'type' is missing",
                      "add \"type\": \"random\", \"scalar\" or \"safetensors\"");
  } else {
    type = view.contains("path") ? "safetensors" : view.contains("value") ? "scalar" : "random";
  }
  const bool is_strict = strictness == Strictness::kStrict;
  if (type == "random") {
    if (is_strict) FIB_CHECK(view.only_keys({"type"}));
    return RandomInput{};
  }
  if (type == "scalar") {
    if (is_strict) FIB_CHECK(view.only_keys({"type", "value"}));
    return read_scalar(view);
  }
  if (type == "safetensors") {
    if (is_strict) FIB_CHECK(view.only_keys({"type", "path", "tensor_key"}));
    SafetensorsInput input;
    const JsonView path = FIB_TRY(view.at("path"));
    input.path = FIB_TRY(path.non_empty_string());
    if (!is_safe_relative_path(input.path)) {
      return path.error(fmt::format("blob path '{}' leaves the dataset", input.path),
                        "a relative path without '..', below the dataset's root");
    }
    const JsonView key = FIB_TRY(view.at("tensor_key"));
    input.tensor_key = FIB_TRY(key.non_empty_string());
    return input;
  }
  return FIB_TRY(view.at("type"))
      .error(fmt::format("there is no input type '{}'", type), "random, scalar or safetensors");
}

Json input_to_json(const InputSpec& spec, const Json& original) {
  Json json = Json::object();
  if (std::holds_alternative<RandomInput>(spec)) {
    json["type"] = "random";
  } else if (const auto* scalar = std::get_if<ScalarInput>(&spec)) {
    json["type"] = "scalar";
    std::visit([&](auto value) { json["value"] = value; }, scalar->value);
  } else {
    const auto& stored = std::get<SafetensorsInput>(spec);
    json["type"] = "safetensors";
    json["path"] = stored.path;
    json["tensor_key"] = stored.tensor_key;
  }
  return overlay(original, json, {"type", "value", "path", "tensor_key"});
}

}  // namespace

Result<Workload> workload_from_json(const Json& json, std::string_view where,
                                    Strictness strictness) {
  const JsonView root(json, std::string(where));
  return read_workload(root, strictness);
}

Result<Workload> read_workload(const JsonView& root, Strictness strictness) {
  if (strictness == Strictness::kStrict) {
    FIB_CHECK(root.only_keys({"axes", "inputs", "uuid", "fib"}));
  }
  Workload workload;
  workload.where = root.location();
  if (const auto uuid = root.find("uuid")) {
    workload.uuid = FIB_TRY(uuid->string());
  } else if (strictness == Strictness::kStrict) {
    return root.error("'uuid' is missing", "every workload of a file needs its own");
  }
  const auto axes = FIB_TRY(FIB_TRY(root.at("axes")).object());
  for (const auto& [name, view] : axes) {
    const int64_t size = FIB_TRY(view.integer());
    if (size < 0) return view.error(fmt::format("axis '{}' has the negative size {}", name, size));
    workload.axes.emplace_back(name, size);
  }
  if (const auto inputs = root.find("inputs")) {
    const auto members = FIB_TRY(inputs->object());
    for (const auto& [name, view] : members) {
      workload.inputs.emplace_back(name, FIB_TRY(read_input(view, strictness)));
    }
  }
  if (const auto fib = root.find("fib")) {
    if (strictness == Strictness::kStrict) {
      FIB_CHECK(fib->only_keys({"weight", "time_share", "source", "missing"}));
    }
    if (const auto weight = fib->find("weight")) {
      workload.weight = FIB_TRY(weight->number());
      if (!(workload.weight > 0.0)) return weight->error("a weight is above 0");
    }
  }
  workload.original = root.json();
  return workload;
}

Json workload_to_json(const Workload& workload) {
  const Json& original = workload.original;
  Json json = Json::object();
  json["axes"] = Json::object();
  for (const auto& [name, value] : workload.axes) json["axes"][name] = value;
  json["inputs"] = Json::object();
  const Json& original_inputs = member(original, "inputs");
  for (const auto& [name, spec] : workload.inputs) {
    json["inputs"][name] = input_to_json(spec, member(original_inputs, name));
  }
  // Every row written has an id: the ecosystem's reader asks for one.
  json["uuid"] = workload_id(workload);
  if (workload.weight != 1.0 || !member(original, "fib").is_null()) {
    Json fib = Json::object();
    fib["weight"] = workload.weight;
    json["fib"] = overlay(member(original, "fib"), fib, {"weight"});
  }
  return overlay(original, json, {"axes", "inputs", "uuid"});
}

}  // namespace fib
