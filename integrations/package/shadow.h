#pragma once

// A kernel run beside the one that serves a live call: on the same inputs, into outputs of its own,
// and what the two outputs differ by. Nothing of a wrong kernel reaches the model that way, unless
// it writes where it was not told to.
//
// Outputs in place are copied first. Where they are a paged cache, which is as large as memory, and
// only the rows of a `slots` input are written (Synthesis::kSlots), the kernel gets a small cache
// and slots of its own instead, and the rows are compared.

#include <optional>
#include <string>
#include <vector>

#include "integrations/package/kernel.h"

namespace fib {

class ShadowRun {
 public:
  explicit ShadowRun(ServingDevice& device) : device_(device) {}

  // Runs `kernel` on the call's inputs; `call.prepared` is its own. To be called before the call
  // itself is run, which may change its inputs. kResourceExhausted: there is no memory for outputs.
  Result<void> run(Kernel& kernel, const KernelCall& call);

  // After the call itself has run. Words for the first output that differs by more than two right
  // kernels may, nothing if none does. Waits for the device. At most a few MiB of an output are
  // looked at, each time others.
  enum class Trusted { kServing, kShadow };  // whose output the errors are measured by
  Result<std::optional<std::string>> compare(const Signature& signature, const KernelCall& call,
                                             Trusted trusted);

  void release();  // the memory of outputs

 private:
  // The rows of an output that are compared.
  struct Window {
    int64_t first = 0, rows = 0;
    size_t row_bytes = 0;
    size_t offset() const { return static_cast<size_t>(first) * row_bytes; }
    size_t bytes() const { return static_cast<size_t>(rows) * row_bytes; }
  };
  struct Output {
    Operand operand;        // in scratch_
    bool is_slots = false;  // its rows are the call's slots in reverse
  };

  Result<void> lay_out(const Signature& signature, const KernelCall& call);
  Result<void> read_slots(const Operand& slots);
  Window window_of(const Signature& signature, size_t output, const KernelCall& call) const;
  Result<void> fetch(const KernelCall& call, size_t output, const Window& window);

  ServingDevice& device_;
  DeviceArray scratch_, own_slots_;
  std::vector<Operand> inputs_;
  std::vector<Output> outputs_;
  std::vector<int32_t> slots_, reversed_;                // of the call; the shadow's own
  std::vector<std::byte> serving_bytes_, shadow_bytes_;  // of the rows compared
  int64_t num_compared_ = 0;
};

}  // namespace fib
