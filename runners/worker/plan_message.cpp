#include "runners/worker/plan_message.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "signatures/base/hash.h"

namespace fib {
namespace {

constexpr const char* kRequest = "plan request";
constexpr size_t kAlignment = 64;

size_t align(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Every member of FibPlanDevice is an integer; the order is this one.
Json device_to_json(const FibPlanDevice& d) {
  return Json::array({d.compute_major, d.compute_minor, d.multiprocessors,
                      d.max_threads_per_multiprocessor, d.max_shared_bytes_per_block,
                      d.max_shared_bytes_per_multiprocessor, d.warp_size, d.l2_bytes,
                      d.memory_bytes});
}

Result<FibPlanDevice> device_from_json(const JsonView& view) {
  const std::vector<JsonView> items = FIB_TRY(view.array());
  std::vector<int64_t> n;
  for (const JsonView& item : items) n.push_back(FIB_TRY(item.integer()));
  if (n.size() != 9) return view.error(fmt::format("{} numbers, expected 9", n.size()));
  const auto at = [&n](size_t i) { return static_cast<int32_t>(n[i]); };
  return FibPlanDevice{at(0), at(1), at(2), at(3), at(4), at(5), at(6), n[7], n[8]};
}

Json tensor_to_json(const PlanTensorValue& tensor) {
  return Json{{"name", tensor.name},
              {"dtype", dtype_name(tensor.dtype)},
              {"shape", tensor.shape},
              {"is_host_scalar", tensor.is_host_scalar},
              {"scalar", fmt::format("{:a}", tensor.scalar)},  // any value, to the last bit
              {"host_bytes", tensor.host_data ? Json(tensor.host_data->size()) : Json()}};
}

// `offset` is that of the next host-visible tensor's data.
Result<PlanTensorValue> tensor_from_json(const JsonView& view, std::span<const std::byte> data,
                                         size_t* offset) {
  PlanTensorValue tensor{.name = FIB_TRY(FIB_TRY(view.at("name")).string())};
  const JsonView dtype = FIB_TRY(view.at("dtype"));
  const auto known = dtype_from_name(FIB_TRY(dtype.string()));
  if (!known) return dtype.error("unknown dtype");
  tensor.dtype = *known;
  for (const JsonView& size : FIB_TRY(FIB_TRY(view.at("shape")).array())) {
    tensor.shape.push_back(FIB_TRY(size.integer()));
  }
  tensor.is_host_scalar = FIB_TRY(FIB_TRY(view.at("is_host_scalar")).boolean());
  tensor.scalar = std::strtod(FIB_TRY(FIB_TRY(view.at("scalar")).string()).c_str(), nullptr);
  const auto host_bytes = view.find("host_bytes");
  if (!host_bytes) return tensor;
  const auto bytes = static_cast<size_t>(FIB_TRY(host_bytes->integer()));
  if (*offset > data.size() || bytes > data.size() - *offset) {
    return host_bytes->error(fmt::format("{} bytes, there are {}", bytes, data.size()));
  }
  const auto first = data.begin() + static_cast<std::ptrdiff_t>(*offset);
  tensor.host_data = std::make_shared<const std::vector<std::byte>>(
      first, first + static_cast<std::ptrdiff_t>(bytes));
  *offset = align(*offset + bytes);
  return tensor;
}

Json problem_to_json(const PlanProblemValue& problem) {
  Json inputs = Json::array(), outputs = Json::array();
  for (const PlanTensorValue& input : problem.inputs) inputs.push_back(tensor_to_json(input));
  for (const PlanTensorValue& output : problem.outputs) outputs.push_back(tensor_to_json(output));
  return Json{{"axes", problem.axes},
              {"inputs", std::move(inputs)},
              {"outputs", std::move(outputs)},
              {"device", device_to_json(problem.device)}};
}

}  // namespace

std::string PlanProblemValue::key() const {
  Hasher hasher;
  hasher.add(dump_json(problem_to_json(*this)));
  for (const PlanTensorValue& input : inputs) {
    if (!input.host_data) continue;
    hasher.add(std::string_view(reinterpret_cast<const char*>(input.host_data->data()),
                                input.host_data->size()));
  }
  return hasher.hex();
}

Result<PlanProblemValue> plan_problem(const Problem& problem, const InputSet& inputs,
                                      const FibPlanDevice& device) {
  PlanProblemValue value{.axes = problem.axes, .device = device};
  for (const InputValue& input : inputs.values) {
    const TensorDesc& desc = input.desc;
    PlanTensorValue& tensor =
        value.inputs.emplace_back(PlanTensorValue{.name = desc.name,
                                                  .dtype = desc.dtype,
                                                  .shape = desc.shape,
                                                  .is_host_scalar = desc.is_host_scalar});
    if (const double* scalar = std::get_if<double>(&input.source)) tensor.scalar = *scalar;
    if (!desc.is_host_visible) continue;
    const InputBytes* bytes = std::get_if<InputBytes>(&input.source);
    if (bytes == nullptr) {
      return fail(ErrorCode::kInvalidInput, "a host-visible input whose values are not given",
                  problem.label() + ": " + desc.name, "give it a 'synthesis' rule or a blob");
    }
    tensor.host_data = *bytes;
  }
  for (const TensorDesc& desc : problem.outputs) {
    value.outputs.push_back({.name = desc.name, .dtype = desc.dtype, .shape = desc.shape});
  }
  return value;
}

Result<PlanMessage> write_plan_message(const PlanProblemValue& problem) {
  size_t bytes = 0;
  for (const PlanTensorValue& input : problem.inputs) {
    if (input.host_data) bytes = align(bytes + input.host_data->size());
  }
  SharedMemory memory = FIB_TRY(SharedMemory::create(bytes, "fib plan inputs"));
  auto target = memory.bytes().begin();
  for (const PlanTensorValue& input : problem.inputs) {
    if (!input.host_data) continue;
    std::copy(input.host_data->begin(), input.host_data->end(), target);
    target += static_cast<std::ptrdiff_t>(align(input.host_data->size()));
  }
  Json body = problem_to_json(problem);
  body["memory_bytes"] = bytes;
  return PlanMessage{std::move(body), std::move(memory)};
}

Result<PlanProblemValue> read_plan_message(Message& message) {
  const JsonView view(message.body, kRequest);
  if (message.fds.size() != 1) return view.error("one descriptor is expected");
  const auto bytes = static_cast<size_t>(FIB_TRY(FIB_TRY(view.at("memory_bytes")).integer()));
  const SharedMemory memory =
      FIB_TRY(SharedMemory::adopt(std::exchange(message.fds, {}).front(), bytes));
  PlanProblemValue problem{.device = FIB_TRY(device_from_json(FIB_TRY(view.at("device"))))};
  for (const auto& [name, value] : FIB_TRY(FIB_TRY(view.at("axes")).object())) {
    problem.axes[name] = FIB_TRY(value.integer());
  }
  size_t offset = 0;
  for (const JsonView& input : FIB_TRY(FIB_TRY(view.at("inputs")).array())) {
    problem.inputs.push_back(FIB_TRY(tensor_from_json(input, memory.bytes(), &offset)));
  }
  for (const JsonView& output : FIB_TRY(FIB_TRY(view.at("outputs")).array())) {
    problem.outputs.push_back(FIB_TRY(tensor_from_json(output, {}, &offset)));
  }
  return problem;
}

}  // namespace fib
