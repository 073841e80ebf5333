#pragma once

// Scratch memory that all kernels of a dispatch share: calls run one after the other.

#include <algorithm>
#include <span>
#include <vector>

#include "integrations/package/device.h"

namespace fib {

class Workspace {
 public:
  explicit Workspace(ServingDevice& device) : device_(&device) {}

  // All that there is now.
  std::span<std::byte> whole() const {
    return pieces_.empty() ? std::span<std::byte>() : std::span(pieces_.back().data(), size_);
  }

  // At least `bytes`, content undefined. What was given out before stays allocated, because graphs
  // and bound plans hold its address; growing by at least half keeps the sum of it in bounds.
  Result<std::byte*> reserve(size_t bytes) {
    if (bytes > size_) {
      const size_t grown = std::max(bytes, size_ + size_ / 2);
      pieces_.push_back(FIB_TRY(device_->allocate(grown)));
      size_ = grown;
    }
    return pieces_.empty() ? nullptr : pieces_.back().data();
  }

 private:
  ServingDevice* device_;
  std::vector<DeviceArray> pieces_;  // the last one is in use
  size_t size_ = 0;
};

}  // namespace fib
