// Calls of the hand-written package, and the package opened.

#include <cstring>
#include <stdexcept>

#include "tests/integrations/package/runtime/small_package.h"

namespace fib::package {

constexpr size_t kAlignment = 256;

float* ScaleCall::block(size_t floats) {
  std::vector<std::byte>& bytes = memory_.emplace_back(floats * sizeof(float) + kAlignment);
  const auto at = reinterpret_cast<uintptr_t>(bytes.data());
  return reinterpret_cast<float*>((at + kAlignment - 1) / kAlignment * kAlignment);
}

ScaleCall::ScaleCall(int64_t rows, double factor) : rows_(rows) {
  const auto elements = static_cast<size_t>(rows * kColumns);
  memory_.reserve(8);
  x_ = block(elements);
  weight_ = block(kColumns);
  y_ = block(elements);
  for (size_t i = 0; i < elements; ++i) x_[i] = static_cast<float>(i % 13);
  for (int64_t i = 0; i < kColumns; ++i) weight_[i] = static_cast<float>(i + 1);
  for (int64_t i = 0; i <= rows; ++i) starts_.push_back(static_cast<int32_t>(i));
  auto* const starts = reinterpret_cast<int32_t*>(block(starts_.size()));
  std::memcpy(starts, starts_.data(), starts_.size() * sizeof(int32_t));

  const fib_kernels_dtype float32 = {FIB_FLOAT, 32, 1}, int32 = {FIB_INT, 32, 1};
  shapes_.reserve(4);
  const auto tensor = [&](void* data, fib_kernels_dtype dtype, std::vector<int64_t> shape) {
    std::vector<int64_t>& kept = shapes_.emplace_back(std::move(shape));
    return fib_kernels_tensor{.data = data,
                              .device = {kFibKernelsCpu, 0},
                              .ndim = static_cast<int32_t>(kept.size()),
                              .dtype = dtype,
                              .shape = kept.data()};
  };
  inputs = {tensor(x_, float32, {rows, kColumns}), tensor(weight_, float32, {kColumns}),
            fib_kernels_tensor{}, tensor(starts, int32, {rows + 1})};
  outputs = {tensor(y_, float32, {rows, kColumns})};
  scalars = {0.0, 0.0, factor, 0.0};
  host_inputs = {nullptr, nullptr, nullptr, starts_.data()};
  axes = {rows, rows + 1};
  raw_inputs = {x_, weight_, nullptr, starts};
  raw_outputs = {y_};
  call.num_inputs = static_cast<int32_t>(inputs.size());
  call.num_outputs = static_cast<int32_t>(outputs.size());
  call.inputs = inputs.data();
  call.outputs = outputs.data();
  call.scalars = scalars.data();
  set_workspace((64 * static_cast<size_t>(rows) + kAlignment - 1) / kAlignment * kAlignment);
}

void ScaleCall::set_workspace(size_t bytes) {
  call.workspace = block(bytes / sizeof(float) + 1);
  call.workspace_bytes = bytes;
}

fib_kernels_raw_call ScaleCall::raw() {
  fib_kernels_raw_call raw = FIB_KERNELS_RAW_CALL_INIT;
  raw.axes = axes.data();
  raw.inputs = raw_inputs.data();
  raw.outputs = raw_outputs.data();
  raw.scalars = scalars.data();
  raw.host_inputs = call.host_inputs;
  raw.workspace = call.workspace;
  raw.workspace_bytes = call.workspace_bytes;
  raw.prepared = call.prepared;
  raw.prepared_bytes = call.prepared_bytes;
  raw.stream = call.stream;
  return raw;
}

float ScaleCall::expected(int64_t element, double bias) const {
  return x_[element] * weight_[element % kColumns] * static_cast<float>(scalars[2]) +
         static_cast<float>(bias);
}

bool ScaleCall::is_right(double bias) const {
  for (int64_t i = 0; i < rows_ * kColumns; ++i) {
    if (y_[i] != expected(i, bias)) return false;
  }
  return true;
}

void ScaleCall::clear() {
  std::memset(y_, 0, static_cast<size_t>(rows_ * kColumns) * sizeof(float));
}

fib_kernels_device_options OpenPackage::cpu_options(int threads) {
  fib_kernels_device_options options = FIB_KERNELS_DEVICE_OPTIONS_INIT;
  options.num_threads = threads;
  return options;
}

OpenPackage::OpenPackage(const fib_kernels_device_options& options) {
  const auto status = fib_kernels_open(&options, &device);
  if (status != FIB_KERNELS_OK) throw std::runtime_error(fib_kernels_last_error());
}

const fib_kernels_op* OpenPackage::find(const char* signature) const {
  const fib_kernels_op* op = nullptr;
  const auto status = fib_kernels_find(device, signature, nullptr, 0, &op);
  if (status != FIB_KERNELS_OK) throw std::runtime_error(fib_kernels_last_error());
  return op;
}

}  // namespace fib::package
