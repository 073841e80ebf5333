// list_signatures, show_signature, get_skeleton.

#include <fmt/format.h>

#include "agents/contract.h"
#include "agents/mcp/schema.h"
#include "agents/mcp/tools.h"
#include "agents/mcp/views.h"
#include "agents/skeleton.h"

namespace fib::mcp {

namespace {

constexpr int64_t kMostSignatures = 200;
constexpr TextLimit kReferenceLimit{.lines = 200, .bytes = 12'000};

Json signature_name_schema() {
  Json schema = string_schema("A signature's name, such as rmsnorm_h4096");
  schema["minLength"] = 1;
  return schema;
}

Result<ToolAnswer> list_signatures(Workbench& workbench, const Json& arguments) {
  const std::string op_type = arguments.value("op_type", "");
  const std::string part = arguments.value("contains", "");
  const int64_t limit = arguments.value("limit", kMostSignatures);
  Json entries = Json::array();
  std::string text;
  int64_t total = 0;
  for (const SignaturePtr& signature : workbench.catalog().all()) {
    if (!op_type.empty() && signature->op_type != op_type) continue;
    if (signature->name.find(part) == std::string::npos) continue;
    if (++total > limit) continue;
    entries.push_back({{"name", signature->name},
                       {"op_type", signature->op_type},
                       {"family", signature->fib.family},
                       {"description", signature->description.value_or("")},
                       {"tags", signature->tags}});
    text += fmt::format("{} ({})\n", signature->name, signature->op_type);
  }
  text += fmt::format("{} of {} signatures\n", entries.size(), total);
  return ToolAnswer{.structured = {{"signatures", entries}, {"total", total}},
                    .text = std::move(text)};
}

Tool list_signatures_tool(Workbench& workbench) {
  return {.name = "list_signatures",
          .title = "List signatures",
          .description = "The kernels that are wanted, with op type and description.",
          .input_schema = object_schema(
              {{"op_type", string_schema("Only those of this op type, such as moe or rmsnorm")},
               {"contains", string_schema("Only those whose name contains this")},
               {"limit",
                {{"type", "integer"},
                 {"minimum", 1},
                 {"maximum", kMostSignatures},
                 {"description", "At most so many"}}}}),
          .output_schema = {{"type", "object"},
                            {"properties",
                             {{"signatures", list_schema({{"type", "object"}})},
                              {"total", {{"type", "integer"}}}}},
                            {"required", {"signatures", "total"}}},
          .run = [&workbench](const Json& arguments, const ToolCall&) {
            return list_signatures(workbench, arguments);
          }};
}

Json tensors_to_json(const Signature& signature, const std::vector<TensorSpec>& tensors) {
  Json list = Json::array();
  for (const TensorSpec& tensor : tensors) {
    Json entry{{"name", tensor.name},
               {"dtype", dtype_name(tensor.dtype)},
               {"is_weight", signature.is_weight(tensor.name)},
               {"is_host_visible", signature.is_host_visible(tensor.name)},
               {"description", tensor.description.value_or("")}};
    if (tensor.shape) entry["shape"] = *tensor.shape;  // else a scalar, passed by value
    const auto in_place = signature.fib.in_place.find(tensor.name);
    if (in_place != signature.fib.in_place.end()) entry["in_place_of"] = in_place->second;
    list.push_back(std::move(entry));
  }
  return list;
}

Result<ToolAnswer> show_signature(Workbench& workbench, const Json& arguments) {
  const SignaturePtr signature =
      FIB_TRY(workbench.catalog().find(arguments["name"].get<std::string>()));
  Json axes = Json::array();
  for (const Axis& axis : signature->axes) {
    Json entry{{"name", axis.name}, {"description", axis.description.value_or("")}};
    if (axis.kind == Axis::Kind::kConst) entry["value"] = axis.value;  // else it varies by call
    axes.push_back(std::move(entry));
  }
  Json constraints = Json::array();
  for (const Expression& constraint : signature->constraints) {
    constraints.push_back(constraint.text());
  }
  Json tolerances = Json::object();
  for (const auto& [output, tolerance] : signature->fib.tolerances) {
    tolerances[output] = tolerance_in_words(tolerance);
  }
  const CostModel& cost = signature->fib.cost;
  Json document{{"name", signature->name},
                {"op_type", signature->op_type},
                {"family", signature->fib.family},
                {"description", signature->description.value_or("")},
                {"axes", axes},
                {"inputs", tensors_to_json(*signature, signature->inputs)},
                {"outputs", tensors_to_json(*signature, signature->outputs)},
                {"constraints", constraints},
                {"parameters", signature->fib.parameters},
                {"tolerances", tolerances},
                {"cost", {{"bytes", cost.bytes}, {"operations", cost.flops}, {"math", cost.math}}},
                {"reference", shortened(signature->reference, kReferenceLimit)}};
  return ToolAnswer{
      .structured = std::move(document),
      .text = fmt::format("{} ({}): {}\n\n{}", signature->name, signature->op_type,
                          signature->description.value_or(""), contract_in_words(*signature))};
}

Tool show_signature_tool(Workbench& workbench) {
  const Json string{{"type", "string"}}, object{{"type", "object"}};
  return {.name = "show_signature",
          .title = "Show a signature",
          .description =
              "A signature's contract: axes, tensors in calling order with dtype and shape, "
              "constraints, constants, when an output counts as right, what it must cost at least, "
              "and the reference in Python.",
          .input_schema = object_schema({{"name", signature_name_schema()}}, {"name"}),
          .output_schema = {{"type", "object"},
                            {"properties",
                             {{"name", string},
                              {"op_type", string},
                              {"family", string},
                              {"description", string},
                              {"axes", list_schema(object)},
                              {"inputs", list_schema(object)},
                              {"outputs", list_schema(object)},
                              {"constraints", list_schema(string)},
                              {"parameters", object},
                              {"tolerances", object},
                              {"cost", object},
                              {"reference", string}}},
                            {"required",
                             {"name", "op_type", "axes", "inputs", "outputs", "tolerances",
                              "reference"}}},
          .run = [&workbench](const Json& arguments, const ToolCall&) {
            return show_signature(workbench, arguments);
          }};
}

Result<ToolAnswer> get_skeleton(Workbench& workbench, const Folders& folders,
                                const Json& arguments) {
  const SignaturePtr signature =
      FIB_TRY(workbench.catalog().find(arguments["signature"].get<std::string>()));
  const std::string target = arguments["target"].get<std::string>();
  const std::vector<SourceFile> skeleton = FIB_TRY(make_skeleton(
      *signature, {.target = target,
                   .name = arguments.value("name", fmt::format("{}-{}", signature->name, target)),
                   .author = arguments.value("author", "agent")}));
  Json files = Json::object();
  std::string text;
  for (const SourceFile& file : skeleton) {
    files[file.path] = file.content;
    text += fmt::format("--- {}\n{}\n", file.path, file.content);
  }
  Json document{{"files", std::move(files)}};
  if (arguments.contains("folder")) {
    const std::string folder = arguments["folder"].get<std::string>();
    const std::filesystem::path path = FIB_TRY(folder_below_root(folder, folders));
    FIB_CHECK(write_files(skeleton, path));
    document["folder"] = folder;
    text =
        fmt::format("wrote {} files to {}; next: edit, check, submit\n", skeleton.size(), folder);
  }
  return ToolAnswer{.structured = std::move(document), .text = std::move(text)};
}

Tool get_skeleton_tool(Workbench& workbench, const Folders& folders) {
  return {
      .name = "get_skeleton",
      .title = "Get a skeleton",
      .description =
          "A solution to start from: it compiles, and for common op types is right and slow. "
          "The files come in the answer and, where a folder is named, are written there too.",
      .input_schema = object_schema(
          {{"signature", signature_name_schema()},
           {"target",
            {{"type", "string"},
             {"enum", {"cpu", "cuda"}},
             {"description", "What the kernel is written for"}}},
           {"name", string_schema("The solution's name; default: signature and target")},
           {"author", string_schema("Default: agent")},
           {"folder", string_schema("A new folder, relative to the server's root")}},
          {"signature", "target"}),
      .output_schema = {{"type", "object"},
                        {"properties",
                         {{"files",
                           {{"type", "object"}, {"additionalProperties", {{"type", "string"}}}}},
                          {"folder", {{"type", "string"}}}}},
                        {"required", Json::array({"files"})}},
      .effect = Tool::Effect::kAdds,
      .run = [&workbench, folders](const Json& arguments, const ToolCall&) {
        return get_skeleton(workbench, folders, arguments);
      }};
}

}  // namespace

std::vector<Tool> signature_tools(Workbench& workbench, const Folders& folders) {
  return {list_signatures_tool(workbench), show_signature_tool(workbench),
          get_skeleton_tool(workbench, folders)};
}

}  // namespace fib::mcp
