#include "runners/cuda/skeleton.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <stdexcept>

#include "runners/cuda/skeleton_bodies.h"

namespace fib {
namespace {

// Types that NVRTC knows without a header; 16-bit floats come as their bits.
std::string_view element_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return "float";
    case DType::kFloat16:
    case DType::kBFloat16: return "unsigned short";
    case DType::kInt64: return "long long";
    case DType::kInt32: return "int";
    case DType::kInt16: return "short";
    case DType::kInt8: return "signed char";
    case DType::kFloat8E4M3FN:
    case DType::kFloat8E5M2:
    case DType::kFloat4E2M1:
    case DType::kBool: return "unsigned char";
  }
  throw std::logic_error("a dtype without an element type");
}

std::string shape_comment(const TensorSpec& tensor) {
  if (!tensor.shape) return fmt::format("{}, by value", dtype_name(tensor.dtype));
  return fmt::format("[{}] {}", fmt::join(*tensor.shape, ", "), dtype_name(tensor.dtype));
}

// Scalars travel as float or long long, whatever the signature stores them in.
std::string_view scalar_type(const TensorSpec& tensor) {
  return is_floating(tensor.dtype) ? "float" : "long long";
}

std::string kernel_source(const Signature& signature) {
  const auto known = cuda_skeleton_body(signature);
  std::string parameters;
  for (const TensorSpec& input : signature.inputs) {
    parameters +=
        input.shape
            ? fmt::format("    const {}* {},  // {}{}\n", element_type(input.dtype), input.name,
                          shape_comment(input), signature.is_weight(input.name) ? ", a weight" : "")
            : fmt::format("    {} {},  // {}\n", scalar_type(input), input.name,
                          shape_comment(input));
  }
  for (const TensorSpec& output : signature.outputs) {
    parameters += fmt::format("    {}* {},  // {}, written\n", element_type(output.dtype),
                              output.name, shape_comment(output));
  }
  for (const Axis& axis : signature.axes) {
    if (axis.kind == Axis::Kind::kVar) parameters += fmt::format("    long long {},\n", axis.name);
  }
  std::string sizes, body;
  for (const TensorSpec& output : signature.outputs) {
    sizes += fmt::format("    long long {}_bytes,\n", output.name);
    body += fmt::format(
        "  for (long long i = first; i < {0}_bytes; i += step) {{\n"
        "    reinterpret_cast<unsigned char*>({0})[i] = 0;\n"
        "  }}\n",
        output.name);
  }
  if (!known) parameters += sizes;
  parameters.erase(parameters.rfind(','), 1);
  if (known) {
    return fmt::format(
        "// {} for the cuda target: right and simple, to start from.\n"
        "//\n"
        "// Const axes come as FIB_AXIS_<axis>, the constants of the mathematics as "
        "FIB_PARAM_<name>.\n"
        "// <fib/device/convert.h> and its neighbours have conversions, reductions and wide "
        "loads.\n"
        "{}\n"
        "// A block of 256 threads takes one item after the other: {}.\n"
        "extern \"C\" __global__ void solution(\n{}) {{\n"
        "  for (long long item = blockIdx.x; item < {}; item += gridDim.x) {{\n"
        "{}  }}\n}}\n",
        signature.name, known->helpers, known->what, parameters, known->items, known->body);
  }
  return fmt::format(
      "// {} for the cuda target: a frame without its mathematics.\n"
      "//\n"
      "// Const axes come as FIB_AXIS_<axis>, the constants of the mathematics as "
      "FIB_PARAM_<name>.\n"
      "// <fib/device/convert.h> and its neighbours have conversions, reductions and wide "
      "loads.\n\n"
      "// NOT THE OPERATION: all outputs become zero. Replace this by the mathematics of the "
      "signature.\n"
      "extern \"C\" __global__ void solution(\n{}) {{\n"
      "  const long long first = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;\n"
      "  const long long step = gridDim.x * static_cast<long long>(blockDim.x);\n"
      "{}}}\n",
      signature.name, parameters, body);
}

std::string plan_source(const Signature& signature) {
  const bool is_known = cuda_skeleton_body(signature).has_value();
  std::string sizes, arguments;
  for (const TensorSpec& input : signature.inputs) {
    arguments += input.shape ? fmt::format("      .arg(problem.input(\"{}\"))\n", input.name)
                             : fmt::format("      .arg(static_cast<{}>(problem.scalar(\"{}\")))\n",
                                           scalar_type(input), input.name);
  }
  for (const TensorSpec& output : signature.outputs) {
    arguments += fmt::format("      .arg(problem.output(\"{}\"))\n", output.name);
  }
  for (const Axis& axis : signature.axes) {
    if (axis.kind != Axis::Kind::kVar) continue;
    arguments +=
        fmt::format("      .arg(static_cast<long long>(problem.axis(\"{}\")))\n", axis.name);
  }
  for (const TensorSpec& output : signature.outputs) {
    if (is_known) break;  // a frame needs the sizes, to fill
    std::string elements = "1";
    for (const std::string& axis : *output.shape) {
      elements += fmt::format(" * problem.axis(\"{}\")", axis);
    }
    sizes += fmt::format("  const long long {}_bytes = ({} * {} + 7) / 8;\n", output.name, elements,
                         bits_of(output.dtype));
    arguments += fmt::format("      .arg({}_bytes)\n", output.name);
  }
  arguments.insert(arguments.size() - 1, ";");
  return fmt::format(
      "// Which kernels run for a problem, with which grid and arguments. A pure function: the "
      "plan "
      "is\n// made once and replayed (<fib/plan.h>).\n\n"
      "#include <fib/plan.h>\n\n"
      "static void make_plan(const fib::PlanProblem& problem, fib::Plan& plan) {{\n{}"
      "  plan.launch(\"solution\")\n"
      "      .grid(8 * problem.device().multiprocessors)\n"
      "      .block(256)\n"
      "{}}}\nFIB_EXPORT_PLAN(make_plan)\n",
      sizes, arguments);
}

std::string manifest(const Signature& signature) {
  const std::string& family = signature.fib.family;
  const std::string target = family.empty() ? signature.name : family;
  const Json json = {{"name", target + "-mine"},
                     {"signature", target},
                     {"author", "me"},
                     {"target", "cuda"},
                     {"description", cuda_skeleton_body(signature)
                                         ? "Right and simple, to start from."
                                         : "A frame without its mathematics."},
                     {"entry", "kernel.cu"},
                     {"plan", "plan.cpp"},
                     {"kernels", Json::array({"solution"})},
                     {"sources", Json::array({"kernel.cu", "plan.cpp"})}};
  return dump_json_pretty(json) + "\n";
}

}  // namespace

std::vector<SourceFile> cuda_skeleton(const Signature& signature) {
  return {{"solution.json", manifest(signature)},
          {"kernel.cu", kernel_source(signature)},
          {"plan.cpp", plan_source(signature)}};
}

}  // namespace fib
