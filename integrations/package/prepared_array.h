#pragma once

// Prepared weights in device memory, as the kernels of both targets keep them.

#include "integrations/package/kernel.h"

namespace fib {

class PreparedArray final : public PreparedWeights {
 public:
  enum class Originals { kStillRead, kReplaced };

  PreparedArray(const Kernel& maker, DeviceArray array, Originals originals)
      : maker_(&maker), array_(std::move(array)), originals_(originals) {}

  size_t bytes() const override { return array_.bytes(); }
  bool replaces_originals() const override { return originals_ == Originals::kReplaced; }
  std::byte* data() const { return array_.data(); }
  bool is_made_by(const Kernel& kernel) const { return maker_ == &kernel; }

  // What `call` brings for `kernel`; an error if it brings nothing, another kernel's, or fewer
  // bytes than the call needs.
  static Result<std::byte*> of(const KernelCall& call, const Kernel& kernel, size_t bytes);

 private:
  const Kernel* maker_;
  DeviceArray array_;
  Originals originals_;
};

}  // namespace fib
