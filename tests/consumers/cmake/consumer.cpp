// The most likely token of each row of logits, by a kernel package's argmax on the CPU, with bare
// addresses.

#include <fib_kernels.h>

#include <cstdint>
#include <iostream>
#include <memory>
#include <vector>

namespace {

struct Close {
  void operator()(fib_kernels_device* device) const { fib_kernels_close(device); }
};

bool is_ok(fib_kernels_status status) {
  if (status != FIB_KERNELS_OK) std::cerr << fib_kernels_last_error() << '\n';
  return status == FIB_KERNELS_OK;
}

}  // namespace

int main() {
  constexpr int64_t kRows = 3, kVocab = 512;
  fib_kernels_device_options options = FIB_KERNELS_DEVICE_OPTIONS_INIT;
  fib_kernels_device* opened = nullptr;
  if (!is_ok(fib_kernels_open(&options, &opened))) return 1;
  const std::unique_ptr<fib_kernels_device, Close> device(opened);
  const fib_kernels_op* op = nullptr;
  if (!is_ok(fib_kernels_find(device.get(), "argmax_v512", nullptr, 0, &op))) return 1;

  struct alignas(64) Block {
    float values[16];
  };
  std::vector<Block> logits(kRows * kVocab / 16);  // float32 [kRows, kVocab]
  std::vector<Block> tokens(1);                    // int32 [kRows]
  float* values = logits[0].values;
  for (int64_t i = 0; i < kRows * kVocab; ++i) values[i] = static_cast<float>(i * 37 % 101);
  values[0 * kVocab + 7] = values[1 * kVocab + 511] = values[2 * kVocab + 0] = 1000.0f;

  void* const inputs[] = {values};
  void* const outputs[] = {tokens.data()};
  const int64_t axes[] = {kRows};
  fib_kernels_raw_call call = FIB_KERNELS_RAW_CALL_INIT;
  call.axes = axes;
  call.inputs = inputs;
  call.outputs = outputs;
  if (!is_ok(fib_kernels_raw_workspace_bytes(op, &call, &call.workspace_bytes))) return 1;
  constexpr size_t kAlignment = FIB_KERNELS_MEMORY_ALIGNMENT;
  std::vector<Block> workspace((call.workspace_bytes + kAlignment) / sizeof(Block) + 1);
  const auto begin = reinterpret_cast<uintptr_t>(workspace.data());
  call.workspace = reinterpret_cast<void*>((begin + kAlignment - 1) / kAlignment * kAlignment);
  if (!is_ok(fib_kernels_launch_raw(op, &call))) return 1;

  const auto* found = reinterpret_cast<const int32_t*>(tokens.data());
  std::cout << found[0] << ' ' << found[1] << ' ' << found[2] << '\n';
  return found[0] == 7 && found[1] == 511 && found[2] == 0 ? 0 : 1;
}
