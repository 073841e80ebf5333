#include "runners/cpu/skeleton.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "runners/cpu/skeleton_bodies.h"

namespace fib {
namespace {

std::string_view element_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return "float";
    case DType::kFloat16:
    case DType::kBFloat16: return "uint16_t";
    case DType::kInt64: return "int64_t";
    case DType::kInt32: return "int32_t";
    case DType::kInt16: return "int16_t";
    case DType::kInt8: return "int8_t";
    case DType::kFloat8E4M3FN:
    case DType::kFloat8E5M2:
    case DType::kFloat4E2M1:
    case DType::kBool: return "uint8_t";
  }
  throw std::logic_error("a dtype without an element type");
}

std::string shape_comment(const TensorSpec& tensor) {
  if (!tensor.shape) return fmt::format("{}, by value", dtype_name(tensor.dtype));
  return fmt::format("[{}] {}", fmt::join(*tensor.shape, ", "), dtype_name(tensor.dtype));
}

// "call.inputs[0].shape[1]": where a var axis can be read, or nothing.
std::string axis_source(const Signature& signature, const std::string& axis) {
  const auto in = [&](const std::vector<TensorSpec>& tensors, const char* list) -> std::string {
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (!tensors[i].shape) continue;
      const auto found = std::find(tensors[i].shape->begin(), tensors[i].shape->end(), axis);
      if (found == tensors[i].shape->end()) continue;
      return fmt::format("call.{}[{}].shape[{}]", list, i, found - tensors[i].shape->begin());
    }
    return {};
  };
  const std::string source = in(signature.inputs, "inputs");
  return source.empty() ? in(signature.outputs, "outputs") : source;
}

// The struct that gives the call's tensors their names.
std::string tensors_struct(const Signature& signature) {
  std::string fields;
  for (const Axis& axis : signature.axes) {
    const std::string source = axis_source(signature, axis.name);
    if (axis.kind == Axis::Kind::kVar && !source.empty())
      fields += fmt::format("  int64_t {} = {};\n", axis.name, source);
  }
  for (size_t i = 0; i < signature.inputs.size(); ++i) {
    const TensorSpec& input = signature.inputs[i];
    if (!input.shape) {
      const bool is_float = is_floating(input.dtype);
      fields += fmt::format("  {} {} = call.scalars[{}].{};  // {}\n",
                            is_float ? "double" : "int64_t", input.name, i, is_float ? "f" : "i",
                            shape_comment(input));
      continue;
    }
    const std::string_view type = element_type(input.dtype);
    fields += fmt::format("  // {}{}\n  const {}* {} = static_cast<const {}*>(call.inputs[{}].data);\n",
                          shape_comment(input), signature.is_weight(input.name) ? ", a weight" : "",
                          type, input.name, type, i);
  }
  for (size_t i = 0; i < signature.outputs.size(); ++i) {
    const TensorSpec& output = signature.outputs[i];
    const std::string_view type = element_type(output.dtype);
    fields += fmt::format("  // {}, written\n  {}* {} = static_cast<{}*>(call.outputs[{}].data);\n",
                          shape_comment(output), type, output.name, type, i);
  }
  return "// The call's tensors by their names, row-major.\nstruct Tensors {\n  const FibCall& call;\n" +
         fields + "};\n";
}

std::string constants(const Signature& signature) {
  std::string text;
  for (const Axis& axis : signature.axes) {
    if (axis.kind == Axis::Kind::kConst)
      text += fmt::format("constexpr int64_t {0} = FIB_AXIS_{0};\n", axis.name);
  }
  return text;
}

constexpr std::string_view kRun = R"(
void tasks(int64_t begin, int64_t end, void* context) {{
  const Tensors& t = *static_cast<const Tensors*>(context);
  for (int64_t index = begin; index < end; ++index) task(t, index);
}}

}}  // namespace

// Called many times; allocates nothing, starts no threads. 0 is success.
extern "C" int fib_run(const FibCall* call) {{
  Tensors t{{*call}};
  // The host's threads take chunks of at least 1 task. Make that more where tasks are tiny.
  call->parallel_for(call, {}, 1, tasks, &t);
  return 0;
}}
)";

constexpr std::string_view kZeroFill = R"(
}  // namespace

// Called many times; allocates nothing, starts no threads. 0 is success.
extern "C" int fib_run(const FibCall* call) {
  Tensors t{*call};
  // NOT THE OPERATION: there is no plain implementation of this op type to start from, so all
  // outputs become zero. Replace this by the mathematics of the signature.
)";

std::string zero_fill(const Signature& signature) {
  std::string text(kZeroFill);
  for (const TensorSpec& output : signature.outputs) {
    std::string count = "1";
    for (const std::string& axis : *output.shape) {
      const Axis* found = signature.find_axis(axis);
      count += found->kind == Axis::Kind::kVar ? " * t." + axis : " * " + axis;
    }
    text += fmt::format("  std::memset(t.{0}, 0, sizeof *t.{0} * ({1}));\n", output.name, count);
  }
  return text + "  return 0;\n}\n";
}

std::string source_text(const Signature& signature) {
  const auto body = skeleton_body(signature);
  std::string text = fmt::format(
      "// {} for the cpu target: {}.\n"
      "//\n"
      "// The C ABI is described in <fib/cpu.h>. Const axes come as FIB_AXIS_<axis>, the constants "
      "of the\n// mathematics as FIB_PARAM_<name>. Optional functions: fib_workspace_bytes for "
      "scratch memory,\n// fib_prepared_bytes and fib_prepare to re-lay weights out once.\n\n"
      "#include <fib/cpu.h>\n\n#include <cmath>\n#include <cstring>\n\nnamespace {{\n\n",
      signature.fib.family.empty() ? signature.name : signature.fib.family,
      body ? "right and slow, a place to start" : "a frame without its mathematics");
  text += constants(signature) + "\n" + tensors_struct(signature);
  if (!body) return text + zero_fill(signature);
  text += skeleton_conversions(signature);
  text += fmt::format("\n// Task `index`: {}.\nvoid task(const Tensors& t, int64_t index) {{\n{}}}\n",
                      body->what, body->task);
  return text + fmt::format(kRun, body->count);
}

}  // namespace

std::vector<SourceFile> cpu_skeleton(const Signature& signature) {
  const std::string target = signature.fib.family.empty() ? signature.name : signature.fib.family;
  const Json manifest{{"name", target + "-mine"},
                      {"signature", target},
                      {"author", "me"},
                      {"target", "cpu"},
                      {"description", "What makes it fast."},
                      {"entry", "solution.cpp"},
                      {"sources", {"solution.cpp"}}};
  return {{"solution.json", dump_json_pretty(manifest) + "\n"},
          {"solution.cpp", source_text(signature)}};
}

}  // namespace fib
