#include "integrations/package/runtime/op_shape.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "integrations/package/runtime/struct_size.h"

namespace fib::package {
namespace {

constexpr int64_t kOpen = -1;

bool weights_only(Look look) { return look == Look::kWeights || look == Look::kWeightShapes; }
bool shapes_only(Look look) { return look == Look::kShapes || look == Look::kWeightShapes; }

uint32_t word_of(const fib_kernels_dtype& dtype) {
  uint32_t word = 0;
  static_assert(sizeof word == sizeof dtype);
  std::memcpy(&word, &dtype, sizeof word);
  return word;
}

std::string text_of(const fib_kernels_dtype& dtype) {
  const auto kind = [&]() -> std::string {
    switch (dtype.code) {
      case FIB_INT: return "int";
      case FIB_UINT: return "uint";
      case FIB_FLOAT: return "float";
      case FIB_BFLOAT: return "bfloat";
      case FIB_BOOL: return "bool";
      case FIB_FLOAT8_E4M3FN: return "float8_e4m3fn:";
      case FIB_FLOAT8_E5M2: return "float8_e5m2:";
      case FIB_FLOAT4_E2M1FN: return "float4_e2m1fn:";
      default: return fmt::format("DLPack code {}:", dtype.code);
    }
  }();
  const std::string lanes = dtype.lanes == 1 ? "" : fmt::format("x{}", dtype.lanes);
  return fmt::format("{}{}{}", kind, dtype.bits, lanes);
}

std::string text_of(int32_t device_type, int32_t device_id) {
  switch (device_type) {
    case kFibKernelsCpu: return "the CPU";
    case kFibKernelsCuda: return fmt::format("card {}", device_id);
    default: return fmt::format("a device of DLPack type {}", device_type);
  }
}

bool is_row_major(const fib_kernels_tensor& tensor) {
  int64_t expected = 1;
  for (int32_t d = tensor.ndim - 1; d >= 0; --d) {
    if (tensor.shape[d] != 1 && tensor.strides[d] != expected) return false;
    expected *= tensor.shape[d];
  }
  return true;
}

// The axes of one call, for its constraints.
class AxisValues final : public ExpressionScope {
 public:
  AxisValues(const fib_kernels_signature_info& info, std::span<const int64_t> axes)
      : info_(info), axes_(axes) {}

  std::optional<double> axis(std::string_view name) const override {
    for (size_t i = 0; i < axes_.size(); ++i) {
      if (info_.axes[i].name == name) return static_cast<double>(axes_[i]);
    }
    return std::nullopt;
  }
  std::optional<std::span<const int64_t>> integers(std::string_view) const override {
    return std::nullopt;
  }
  std::optional<std::vector<int64_t>> shape(std::string_view) const override {
    return std::nullopt;
  }

 private:
  const fib_kernels_signature_info& info_;
  std::span<const int64_t> axes_;
};

}  // namespace

Result<OpShape> OpShape::of(const SignatureRow& row) {
  const fib_kernels_signature_info& info = row.info;
  const auto too_many = [&](int32_t count, size_t most) {
    return count < 0 || static_cast<size_t>(count) > most;
  };
  if (too_many(info.num_axes, kMaxAxes) || too_many(info.num_inputs, kMaxTensors) ||
      too_many(info.num_outputs, kMaxTensors)) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("{} axes, {} inputs and {} outputs; calls have at most {}, {} and {}",
                            info.num_axes, info.num_inputs, info.num_outputs, kMaxAxes, kMaxTensors,
                            kMaxTensors),
                info.name);
  }
  OpShape shape;
  shape.row_ = &row;
  shape.slot_of_axis_.resize(static_cast<size_t>(info.num_axes));
  const auto give_slots = [&](auto is_next) {
    for (int32_t i = 0; i < info.num_axes; ++i) {
      if (!is_next(info.axes[i].value)) continue;
      shape.slot_of_axis_[static_cast<size_t>(i)] = static_cast<uint8_t>(shape.blank_.size());
      shape.blank_.push_back(info.axes[i].value);
    }
  };
  give_slots([](int64_t value) { return value < 0; });
  shape.num_varying_ = shape.blank_.size();
  give_slots([](int64_t value) { return value >= 0; });
  std::fill_n(shape.blank_.begin(), shape.num_varying_, kOpen);

  size_t next_input = 0, next_output = 0;
  for (int32_t i = 0; i < info.num_inputs; ++i) {
    FIB_CHECK(shape.add(info.inputs[i], row.input_axes, &next_input, shape.inputs_));
  }
  for (int32_t i = 0; i < info.num_outputs; ++i) {
    FIB_CHECK(shape.add(info.outputs[i], row.output_axes, &next_output, shape.outputs_));
  }
  for (const char* constraint : row.constraints) {
    shape.constraints_.push_back(FIB_TRY(Expression::parse(constraint, info.name)));
  }
  return shape;
}

Result<void> OpShape::add(const fib_kernels_tensor_info& info, Rows<int32_t> axes, size_t* next,
                          std::vector<Tensor>& tensors) const {
  Tensor tensor{.info = &info,
                .dtype = word_of(info.dtype),
                .ndim = info.ndim,
                .is_host_scalar = info.is_host_scalar != 0,
                .is_weight = info.is_weight != 0};
  const auto ndim = static_cast<size_t>(std::max(info.ndim, 0));
  if (ndim > kMaxRank || *next + ndim > axes.size) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("'{}' has {} dimensions; calls have at most {}, the table lists {}",
                            info.name, info.ndim, kMaxRank, axes.size - *next),
                name());
  }
  for (size_t d = 0; d < ndim; ++d) {
    tensor.slot[d] = slot_of_axis_.at(static_cast<size_t>(axes[(*next)++]));
  }
  tensors.push_back(tensor);
  return {};
}

std::vector<int64_t> OpShape::all_axes(const int64_t* varying) const {
  std::vector<int64_t> axes;
  for (const uint8_t slot : slot_of_axis_) {
    axes.push_back(slot < num_varying_ ? varying[slot] : blank_[slot]);
  }
  return axes;
}

std::vector<int64_t> OpShape::shape_of(const Tensor& tensor, std::span<const int64_t> axes) const {
  std::vector<int64_t> shape;
  for (int32_t d = 0; d < tensor.ndim; ++d) {
    const auto axis =
        std::find(slot_of_axis_.begin(), slot_of_axis_.end(), tensor.slot[static_cast<size_t>(d)]);
    shape.push_back(axes[static_cast<size_t>(axis - slot_of_axis_.begin())]);
  }
  return shape;
}

std::vector<int64_t> OpShape::weight_axes(const int64_t* varying) const {
  std::vector<int64_t> slots = blank_;
  for (const Tensor& input : inputs_) {
    for (int32_t d = 0; input.is_weight && d < input.ndim; ++d) {
      const uint8_t slot = input.slot[static_cast<size_t>(d)];
      if (slot < num_varying_) slots[slot] = varying[slot];
    }
  }
  std::replace(slots.begin(), slots.end(), kOpen, int64_t{1});
  return all_axes(slots.data());
}

size_t OpShape::bytes_of(const Tensor& tensor, std::span<const int64_t> axes) const {
  if (tensor.is_host_scalar) return 0;
  size_t elements = 1;
  for (const int64_t size : shape_of(tensor, axes)) elements *= static_cast<size_t>(size);
  return (elements * tensor.info->dtype.bits + 7) / 8;
}

// Inlined into the two loops that every call goes through.
[[gnu::always_inline]] inline bool OpShape::fits(const Tensor& rule,
                                                 const fib_kernels_tensor& tensor,
                                                 const Place& place, Look look, int64_t* slots,
                                                 void** address) const {
  if (rule.is_host_scalar) {
    *address = nullptr;
    return tensor.ndim == 0 && tensor.data == nullptr;
  }
  if (tensor.ndim != rule.ndim || word_of(tensor.dtype) != rule.dtype ||
      (tensor.shape == nullptr && tensor.ndim > 0)) {
    return false;
  }
  bool is_empty = false;
  for (int32_t d = 0; d < tensor.ndim; ++d) {
    const int64_t size = tensor.shape[d];
    int64_t& axis = slots[rule.slot[static_cast<size_t>(d)]];
    if (axis == kOpen && size >= 0) axis = size;
    if (axis != size) return false;
    is_empty |= size == 0;
  }
  if (shapes_only(look)) return true;
  if (tensor.device.device_type != place.device_type ||
      tensor.device.device_id != place.device_id) {
    return false;
  }
  *address =
      tensor.data == nullptr ? nullptr : static_cast<std::byte*>(tensor.data) + tensor.byte_offset;
  if (is_empty) return true;
  if (tensor.strides != nullptr && !is_row_major(tensor)) return false;
  return *address != nullptr &&
         (reinterpret_cast<uintptr_t>(*address) & (place.alignment - 1)) == 0;
}

[[gnu::always_inline]] inline bool OpShape::solve_inputs(const fib_kernels_call& call,
                                                         const Place& place, Look look,
                                                         SolvedCall& solved, size_t* failed) const {
  for (size_t i = 0; i < inputs_.size(); ++i) {
    solved.inputs[i] = nullptr;
    if (weights_only(look) && !inputs_[i].is_weight) continue;
    // Prepared weights stand in for the originals, which may be gone.
    if (inputs_[i].is_weight && look == Look::kEverything && call.prepared != nullptr &&
        call.inputs[i].data == nullptr) {
      continue;
    }
    if (fits(inputs_[i], call.inputs[i], place, look, solved.slots.data(), &solved.inputs[i])) {
      continue;
    }
    *failed = i;
    return false;
  }
  return true;
}

fib_kernels_status OpShape::solve(const fib_kernels_call& call, const Place& place, Look look,
                                  SolvedCall& solved) const {
  if (const auto status = check_size(call, "call"); status != FIB_KERNELS_OK) return status;
  if (static_cast<size_t>(call.num_inputs) != inputs_.size()) {
    return refuse(FIB_KERNELS_INVALID_ARGUMENT, "{}: {} inputs given, it has {}", name(),
                  call.num_inputs, inputs_.size());
  }
  if (!weights_only(look) && static_cast<size_t>(call.num_outputs) != outputs_.size()) {
    return refuse(FIB_KERNELS_INVALID_ARGUMENT, "{}: {} outputs given, it has {}", name(),
                  call.num_outputs, outputs_.size());
  }
  if ((call.inputs == nullptr && !inputs_.empty()) ||
      (!weights_only(look) && call.outputs == nullptr && !outputs_.empty())) {
    return refuse(FIB_KERNELS_INVALID_ARGUMENT, "{}: call.inputs or call.outputs is NULL", name());
  }
  std::copy(blank_.begin(), blank_.end(), solved.slots.begin());
  size_t failed = 0;
  if (!solve_inputs(call, place, look, solved, &failed)) {
    return explain("input", inputs_[failed], call.inputs[failed], place, look, solved.slots.data());
  }
  if (weights_only(look)) {
    std::replace(solved.slots.begin(), solved.slots.begin() + num_varying_, kOpen, int64_t{1});
  } else {
    for (size_t i = 0; i < outputs_.size(); ++i) {
      if (fits(outputs_[i], call.outputs[i], place, look, solved.slots.data(),
               &solved.outputs[i])) {
        continue;
      }
      return explain("output", outputs_[i], call.outputs[i], place, look, solved.slots.data());
    }
  }
  for (size_t slot = 0; slot < num_varying_; ++slot) {
    if (solved.slots[slot] != kOpen) continue;
    const auto axis = std::find(slot_of_axis_.begin(), slot_of_axis_.end(), slot);
    return refuse(FIB_KERNELS_INVALID_ARGUMENT,
                  "{}: no tensor of the call has the axis '{}', so its size isn't known; use "
                  "fib_kernels_launch_raw",
                  name(), row_->info.axes[axis - slot_of_axis_.begin()].name);
  }
  solved.raw = {.struct_size = sizeof(fib_kernels_raw_call),
                .axes = solved.slots.data(),
                .inputs = solved.inputs.data(),
                .outputs = solved.outputs.data(),
                .scalars = call.scalars,
                .host_inputs = call.host_inputs,
                .workspace = call.workspace,
                .workspace_bytes = call.workspace_bytes,
                .prepared = call.prepared,
                .prepared_bytes = call.prepared_bytes,
                .stream = call.stream};
  return FIB_KERNELS_OK;
}

fib_kernels_status OpShape::explain(const char* kind, const Tensor& rule,
                                    const fib_kernels_tensor& tensor, const Place& place, Look look,
                                    const int64_t* slots) const {
  const auto error = [&](std::string_view what) {
    return refuse(FIB_KERNELS_INVALID_ARGUMENT, "{}: {} '{}' {}", name(), kind, rule.info->name,
                  what);
  };
  if (rule.is_host_scalar) {
    return error("is a tensor; the signature takes a number, in call.scalars");
  }
  if (tensor.ndim != rule.ndim) {
    std::string axes;
    for (int32_t d = 0; d < rule.ndim; ++d) {
      axes += fmt::format("{}{}", d == 0 ? "" : ", ", rule.info->axes[d]);
    }
    return error(fmt::format("has {} dimensions, the signature says [{}]", tensor.ndim, axes));
  }
  if (word_of(tensor.dtype) != rule.dtype) {
    return error(fmt::format("is {}, the signature says {}", text_of(tensor.dtype),
                             text_of(rule.info->dtype)));
  }
  if (tensor.shape == nullptr && tensor.ndim > 0) {
    return error("has no shape: its `shape` is NULL");
  }
  for (int32_t d = 0; d < rule.ndim; ++d) {
    if (tensor.shape[d] < 0) {
      return error(
          fmt::format("has a negative size for '{}': {}", rule.info->axes[d], tensor.shape[d]));
    }
    const int64_t expected = slots[rule.slot[static_cast<size_t>(d)]];
    if (tensor.shape[d] != expected) {
      return error(
          fmt::format("has '{}' = {}, it is {}", rule.info->axes[d], tensor.shape[d], expected));
    }
  }
  if (!shapes_only(look) && (tensor.device.device_type != place.device_type ||
                             tensor.device.device_id != place.device_id)) {
    return error(fmt::format("is on {}, the call runs on {}",
                             text_of(tensor.device.device_type, tensor.device.device_id),
                             text_of(place.device_type, place.device_id)));
  }
  if (tensor.strides != nullptr && !is_row_major(tensor)) {
    return error("is not row-major and contiguous; pass a copy that is (torch: .contiguous())");
  }
  if (tensor.data == nullptr) return error("has no data");
  return error(
      fmt::format("begins at an address that is no multiple of {} bytes; pass a copy that does "
                  "(torch: .clone())",
                  place.alignment));
}

Result<void> OpShape::check_axes(const int64_t* varying) const {
  const std::vector<int64_t> axes = all_axes(varying);
  const fib_kernels_signature_info& info = row_->info;
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axes[i] >= 0) continue;
    return fail(ErrorCode::kInvalidInput,
                fmt::format("the axis '{}' is {}", info.axes[i].name, axes[i]), name());
  }
  for (const Expression& constraint : constraints_) {
    if (FIB_TRY(constraint.evaluate(AxisValues(info, axes))) != 0.0) continue;
    std::string sizes;
    for (size_t i = 0; i < axes.size(); ++i) {
      if (!constraint.names().contains(info.axes[i].name)) continue;
      sizes += fmt::format("{}{}={}", sizes.empty() ? "" : ", ", info.axes[i].name, axes[i]);
    }
    return fail(ErrorCode::kInvalidInput,
                fmt::format("the constraint '{}' is false for {}", constraint.text(), sizes),
                name());
  }
  return {};
}

}  // namespace fib::package
