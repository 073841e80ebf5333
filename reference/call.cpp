#include "reference/call.h"

#include <string>

namespace fib {

const TensorSource* find_input(const ReferenceCall& call, std::string_view name) {
  for (size_t i = 0; i < call.problem.inputs.size(); ++i) {
    if (call.problem.inputs[i].name == name) return call.inputs[i].get();
  }
  return nullptr;
}

Result<const TensorSource*> need_input(const ReferenceCall& call, std::string_view name) {
  if (const TensorSource* source = find_input(call, name)) return source;
  const Signature& signature = *call.problem.signature;
  return fail(
      ErrorCode::kUnsupported,
      "the reference '" + signature.fib.reference + "' needs an input '" + std::string(name) + "'",
      signature.name, "name another reference in the signature's fib.reference");
}

std::vector<int64_t> read_integers(const TensorSource& source) {
  std::vector<int64_t> values(static_cast<size_t>(source.desc().num_elements()));
  source.read(0, std::span<int64_t>(values));
  return values;
}

ReferenceOutputs make_outputs(const Problem& problem) {
  ReferenceOutputs outputs;
  for (const TensorDesc& output : problem.outputs) {
    outputs.emplace_back(static_cast<size_t>(output.num_elements()));
  }
  return outputs;
}

}  // namespace fib
