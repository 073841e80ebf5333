#include "harness/roofline.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace fib {
namespace {

// Axes and integer inputs of one call, for cost expressions.
class CallScope : public ExpressionScope {
 public:
  CallScope(const Problem& problem, const InputSet& inputs) : problem_(problem), inputs_(inputs) {}

  std::optional<double> axis(std::string_view name) const override {
    const auto found = problem_.axes.find(std::string(name));
    if (found == problem_.axes.end()) return std::nullopt;
    return static_cast<double>(found->second);
  }

  std::optional<std::span<const int64_t>> integers(std::string_view input) const override {
    if (const auto known = cache_.find(input); known != cache_.end()) return known->second;
    for (const InputValue& value : inputs_.values) {
      const auto* bytes = std::get_if<InputBytes>(&value.source);
      if (value.desc.name != input || bytes == nullptr || !is_integer(value.desc.dtype)) continue;
      std::vector<int64_t> integers(value.desc.num_elements());
      for (size_t i = 0; i < integers.size(); ++i) {
        integers[i] = static_cast<int64_t>(
            load_element(value.desc.dtype, (*bytes)->data(), static_cast<int64_t>(i)));
      }
      return cache_.emplace(input, std::move(integers)).first->second;
    }
    return std::nullopt;
  }

  std::optional<std::vector<int64_t>> shape(std::string_view input) const override {
    for (const TensorDesc& desc : problem_.inputs) {
      if (desc.name == input) return desc.shape;
    }
    return std::nullopt;
  }

 private:
  const Problem& problem_;
  const InputSet& inputs_;
  mutable std::map<std::string, std::vector<int64_t>, std::less<>> cache_;
};

// Boost clocks run up to a tenth above those that datasheets compute their peaks from.
constexpr double kDatasheetMargin = 0.9;
// A ceiling that was measured is that of memory. What a flush left in a cache may be read faster, but
// not so many times.
constexpr double kCachesOverMemory = 20.0;

double floor_ns(double bytes, double flops, double bandwidth_gbps, double tflops) {
  const double memory_ns = bandwidth_gbps > 0.0 ? bytes / bandwidth_gbps : 0.0;
  const double compute_ns = tflops > 0.0 ? flops / (tflops * 1e3) : 0.0;
  return std::max(memory_ns, compute_ns);
}

double rate_tflops(const CallCost& cost, const DeviceInfo& device) {
  return cost.uses_tensor_cores && device.tensor_tflops > 0.0 ? device.tensor_tflops
                                                              : device.fp32_tflops;
}

}  // namespace

Result<CallCost> call_cost(const Problem& problem, const InputSet& inputs) {
  const CostModel& model = problem.signature->fib.cost;
  const CallScope scope(problem, inputs);
  CallCost cost;
  const std::string where = problem.signature->name + ": /fib/cost";
  if (!model.bytes.empty()) {
    cost.bytes = FIB_TRY(FIB_TRY(Expression::parse(model.bytes, where)).evaluate(scope));
  }
  if (!model.flops.empty()) {
    cost.flops = FIB_TRY(FIB_TRY(Expression::parse(model.flops, where)).evaluate(scope));
  }
  for (const TensorDesc& output : problem.outputs) {
    cost.output_bytes += static_cast<double>(output.size_bytes());
  }
  cost.uses_tensor_cores = model.math.ends_with("_tensor");
  return cost;
}

Roofline roofline_of(const Problem& problem, const InputSet& inputs, const DeviceInfo& device) {
  Roofline roofline;
  const Result<CallCost> cost = call_cost(problem, inputs);
  if (!cost) return roofline;
  roofline.bytes = cost->bytes;
  roofline.flops = cost->flops;
  const double tflops = rate_tflops(*cost, device);
  roofline.floor_ns = floor_ns(cost->bytes, cost->flops, device.bandwidth_gbps, tflops);
  if (roofline.floor_ns > 0.0) {
    const bool is_memory_bound =
        floor_ns(cost->bytes, 0.0, device.bandwidth_gbps, tflops) >= roofline.floor_ns;
    roofline.bound = is_memory_bound ? "memory" : "compute";
  }
  return roofline;
}

double impossible_below_ns(const CallCost& cost, const DeviceInfo& device) {
  if (!device.ceilings_source.starts_with("datasheet")) {
    return floor_ns(cost.bytes, 0.0, device.bandwidth_gbps, 0.0) / kCachesOverMemory;
  }
  const double hidden = std::min(cost.output_bytes, static_cast<double>(device.l2_bytes));
  return kDatasheetMargin * floor_ns(std::max(cost.bytes - hidden, 0.0), cost.flops,
                                     device.bandwidth_gbps, rate_tflops(cost, device));
}

}  // namespace fib
