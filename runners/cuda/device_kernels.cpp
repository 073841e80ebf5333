#include "runners/cuda/device_kernels.h"

#include <algorithm>

namespace fib {
namespace {
constexpr unsigned kThreads = 256;
constexpr size_t kVectorBytes = 16;
}  // namespace

ElementFormat element_format(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return kElementFloat32;
    case DType::kFloat16: return kElementFloat16;
    case DType::kBFloat16: return kElementBFloat16;
    case DType::kFloat8E4M3FN: return kElementFloat8E4M3;
    case DType::kFloat8E5M2: return kElementFloat8E5M2;
    case DType::kFloat4E2M1: return kElementFloat4E2M1;
    case DType::kInt64: return kElementInt64;
    case DType::kInt32: return kElementInt32;
    case DType::kInt16: return kElementInt16;
    case DType::kInt8: return kElementInt8;
    case DType::kBool: break;
  }
  return kElementBool;
}

std::vector<std::string> HarnessKernels::names() {
  return {"fib_fill",   "fib_guard_write", "fib_guard_check", "fib_digest",
          "fib_flush_write", "fib_flush_read",  "fib_compare"};
}

Result<HarnessKernels> HarnessKernels::load(const DeviceContext& context,
                                            std::span<const std::byte> cubin) {
  LoweredNames names_to_symbols;
  for (const std::string& name : names()) names_to_symbols.emplace_back(name, name);  // extern "C"
  return HarnessKernels(
      context, FIB_TRY(LoadedKernels::load(context.driver_ptr(), cubin, names_to_symbols)));
}

HarnessKernels::HarnessKernels(const DeviceContext& context, LoadedKernels kernels)
    : context_(&context),
      kernels_(std::move(kernels)),
      flush_buffer_(context.driver()),
      fill_(kernels_.find("fib_fill")),
      guard_write_(kernels_.find("fib_guard_write")),
      guard_check_(kernels_.find("fib_guard_check")),
      digest_(kernels_.find("fib_digest")),
      flush_write_(kernels_.find("fib_flush_write")),
      flush_read_(kernels_.find("fib_flush_read")),
      compare_(kernels_.find("fib_compare")) {}

uint64_t HarnessKernels::blocks_for(uint64_t items) const {
  const uint64_t full = static_cast<uint64_t>(context_->facts().plan.multiprocessors) * 8;
  return std::clamp<uint64_t>((items + kThreads - 1) / kThreads, 1, full);
}

Result<void> HarnessKernels::launch(CUfunction function, uint64_t blocks,
                                    std::span<void*> arguments) const {
  CUlaunchConfig config{};
  config.gridDimX = static_cast<unsigned>(blocks);
  config.gridDimY = config.gridDimZ = config.blockDimY = config.blockDimZ = 1;
  config.blockDimX = kThreads;
  config.hStream = context_->stream();
  const CudaDriver& driver = context_->driver();
  const CUresult result = driver.cuLaunchKernelEx(&config, function, arguments.data(), nullptr);
  if (result == CUDA_SUCCESS) return {};
  return fail(ErrorCode::kWorkerLost, driver.describe(result));
}

Result<void> HarnessKernels::fill(const FillArguments& arguments) const {
  FillArguments copy = arguments;
  void* pointers[] = {&copy};
  const uint64_t vectors = arguments.count * arguments.rule.width / (8 * kVectorBytes) + 1;
  return launch(fill_, blocks_for(vectors), pointers);
}

Result<void> HarnessKernels::write_guards(const GuardList& guards) const {
  if (guards.count == 0) return {};
  GuardList copy = guards;
  void* pointers[] = {&copy};
  return launch(guard_write_, guards.count, pointers);
}

Result<void> HarnessKernels::check_guards(const GuardList& guards, CUdeviceptr report) const {
  if (guards.count == 0) return {};
  GuardList copy = guards;
  void* pointers[] = {&copy, &report};
  return launch(guard_check_, guards.count, pointers);
}

Result<void> HarnessKernels::digest(const DigestArguments& arguments) const {
  DigestArguments copy = arguments;
  void* pointers[] = {&copy};
  return launch(digest_, blocks_for(arguments.bytes / kVectorBytes / 4 + 1), pointers);
}

Result<void> HarnessKernels::flush_l2(uint64_t value) {
  const size_t bytes = static_cast<size_t>(context_->facts().plan.l2_bytes) * 2;
  FIB_CHECK(flush_buffer_.reserve(bytes));
  uint64_t address = flush_buffer_.address(), vectors = bytes / kVectorBytes;
  void* pointers[] = {&address, &vectors, &value};
  FIB_CHECK(launch(flush_write_, blocks_for(vectors), pointers));
  return launch(flush_read_, blocks_for(vectors), pointers);
}

Result<void> HarnessKernels::compare(const CompareArguments& arguments) const {
  CompareArguments copy = arguments;
  void* pointers[] = {&copy};
  return launch(compare_, blocks_for(arguments.count), pointers);
}

}  // namespace fib
