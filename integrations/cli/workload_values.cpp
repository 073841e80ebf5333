#include "integrations/cli/workload_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "harness/thread_pool.h"
#include "integrations/cli/units.h"
#include "reference/reference.h"
#include "signatures/base/safetensors.h"
#include "workloads/inputs.h"

namespace fib {

namespace {

size_t size_of_values(const Problem& problem) {
  size_t bytes = 0;
  for (const TensorDesc& input : problem.inputs) {
    if (!input.is_host_scalar) bytes += input.size_bytes();
  }
  for (const TensorDesc& output : problem.outputs) {
    bytes += static_cast<size_t>(output.num_elements()) * sizeof(float);
  }
  return bytes;
}

Result<ReferenceOutputs> exact_outputs(const Problem& problem,
                                       const std::vector<std::unique_ptr<TensorSource>>& inputs) {
  const Reference* reference = find_reference(problem.signature->fib.reference);
  if (reference == nullptr) {
    return fail(ErrorCode::kUnsupported, "it has no C++ reference to calculate outputs with",
                problem.signature->name, "'fib signature list' shows which signatures have one");
  }
  const int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  return reference->run({.problem = problem,
                         .inputs = inputs,
                         .precision = Precision::kExact,
                         .parallel_for = parallel_on(threads)});
}

}  // namespace

Result<WrittenValues> write_workload_values(const Problem& problem, uint64_t seed,
                                            const std::filesystem::path& file) {
  if (const size_t bytes = size_of_values(problem); bytes > kLargestValuesFile) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("its values take {}, and at most {} are written",
                            format_bytes(static_cast<double>(bytes)),
                            format_bytes(static_cast<double>(kLargestValuesFile))),
                problem.label(), "take a smaller workload, or the family's small instance");
  }
  const InputPlan plan = FIB_TRY(plan_inputs(problem));
  const auto sources = open_sources(with_seed(plan, seed));
  const ReferenceOutputs exact = FIB_TRY(exact_outputs(plan.problem, sources));

  std::map<std::string, std::string> metadata = {
      {"signature", plan.problem.signature->name},
      {"workload", workload_id(plan.problem.workload)},
      {"seed", std::to_string(seed)},
  };
  for (const auto& [axis, value] : plan.problem.axes)
    metadata["axis." + axis] = std::to_string(value);
  std::vector<StoredTensor> tensors;
  std::vector<std::vector<std::byte>> storage;  // moves keep the bytes where they are
  for (const auto& source : sources) {
    const TensorDesc& desc = source->desc();
    if (desc.is_host_scalar) {
      metadata["input." + desc.name] = fmt::format("{:.17g}", source->scalar());
      continue;
    }
    std::vector<std::byte>& bytes = storage.emplace_back(desc.size_bytes());
    source->read_bytes(0, bytes);
    tensors.push_back({"input." + desc.name, desc.dtype, desc.shape, bytes});
  }
  for (size_t i = 0; i < exact.size(); ++i) {
    const TensorDesc& desc = plan.problem.outputs[i];
    tensors.push_back(
        {"expected." + desc.name, DType::kFloat32, desc.shape, std::as_bytes(std::span(exact[i]))});
  }
  FIB_CHECK(write_safetensors(file, tensors, metadata));
  return WrittenValues{.tensors = tensors.size(), .size_bytes = size_of_values(plan.problem)};
}

}  // namespace fib
