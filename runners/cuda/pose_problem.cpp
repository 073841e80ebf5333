#include <algorithm>
#include <bit>

#include "runners/cuda/cuda_session.h"

namespace fib {
namespace {

// Inputs above this, in problems above that, are filled once a block and not for each call: the
// weights of a large MoE take longer to fill than to use.
constexpr uint64_t kHugeProblem = 512 << 20, kHugeInput = 64 << 20;

DeviceTensor tensor_of(const TensorDesc& desc) {
  return {.name = desc.name,
          .dtype = desc.dtype,
          .elements = desc.is_host_scalar ? 0 : desc.num_elements(),
          .bytes = desc.is_host_scalar ? 0 : desc.size_bytes(),
          .is_scalar = desc.is_host_scalar,
          .in_place_of = desc.in_place_of};
}

}  // namespace

PosedProblem pose_problem(const MeasureRequest& request, const std::vector<LaunchPlan>& plans) {
  PosedProblem posed;
  DeviceProblem& device = posed.device;
  device.num_contenders = static_cast<uint32_t>(request.contenders.size());
  device.call_timeout_s = request.config.call_timeout_s;

  const bool prepares = std::any_of(plans.begin(), plans.end(), [](const LaunchPlan& plan) {
    return plan.prepared_bytes > 0;
  });
  uint64_t total = 0;
  for (const TensorDesc& input : request.problem.inputs) {
    device.inputs.push_back(tensor_of(input));
    total += device.inputs.back().bytes;
  }
  for (size_t i = 0; i < device.inputs.size(); ++i) {
    DeviceTensor& input = device.inputs[i];
    const bool is_huge = total > kHugeProblem && input.bytes > kHugeInput;
    const bool is_laid_out = prepares && request.problem.inputs[i].is_weight;
    input.is_resident = !input.is_scalar && (is_huge || is_laid_out);
  }
  for (const TensorDesc& output : request.problem.outputs) {
    device.outputs.push_back(tensor_of(output));
  }
  for (const InputSet& set : request.value_sets) {
    std::vector<DeviceSource>& sources = device.sets.emplace_back();
    for (const InputValue& value : set.values) {
      DeviceSource& source = sources.emplace_back();
      if (const auto* generated = std::get_if<Generated>(&value.source)) {
        source.rule = value_rule(generated->distribution, value.desc.dtype);
        source.seed = generated->seed;
        source.stream = generated->stream;
      } else if (const auto* bytes = std::get_if<InputBytes>(&value.source)) {
        // Structure is shared between value sets: one copy.
        const auto known = std::find(posed.originals.begin(), posed.originals.end(), *bytes);
        source.original = static_cast<size_t>(known - posed.originals.begin());
        if (known == posed.originals.end()) {
          posed.originals.push_back(*bytes);
          device.original_bytes.push_back((*bytes)->size());
        }
      }
    }
  }
  return posed;
}

ErrorStats error_stats_of(const DeviceErrorStats& device) {
  static_assert(kDeviceErrorBins == kErrorBins);
  ErrorStats stats;
  stats.count = static_cast<int64_t>(device.count);
  stats.nonfinite_mismatches = static_cast<int64_t>(device.nonfinite_mismatches);
  stats.first_bad_index = static_cast<int64_t>(device.first_bad_index);  // all ones: -1
  stats.elements_over_bound = static_cast<int64_t>(device.elements_over_bound);
  stats.sum_squared_error = device.sum_squared_error;
  stats.sum_squared_reference = device.sum_squared_reference;
  stats.max_absolute_error = std::bit_cast<double>(device.max_absolute_error_bits);
  stats.max_relative_error = std::bit_cast<double>(device.max_relative_error_bits);
  stats.max_normalised_error = std::bit_cast<double>(device.max_normalised_error_bits);
  for (int bin = 0; bin < kErrorBins; ++bin) {
    stats.histogram[bin] = static_cast<int64_t>(device.histogram[bin]);
  }
  return stats;
}

}  // namespace fib
