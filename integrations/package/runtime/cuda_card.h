#pragma once

// A card as an open package holds it: its primary context, and who it is.

#include <memory>
#include <mutex>

#include "runners/launch/cuda_driver.h"
#include "runners/launch/device_facts.h"

namespace fib::package {

class CudaCard {
 public:
  // kEnvironment: no such card. Anything else: the card has no context for us.
  static Result<std::unique_ptr<CudaCard>> open(CudaDriverPtr driver, int device_id);
  ~CudaCard();
  CudaCard(const CudaCard&) = delete;
  CudaCard& operator=(const CudaCard&) = delete;

  const CudaDriverPtr& driver() const { return driver_; }
  const DeviceFacts& facts() const { return facts_; }
  int id() const { return id_; }
  // Held while attributes of kernels are raised, which plans of several threads may share.
  std::mutex& attributes() { return attributes_; }

 private:
  friend class InContext;
  CudaCard() = default;
  CudaDriverPtr driver_;
  DeviceFacts facts_;
  int id_ = 0;
  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
  std::mutex attributes_;
};

// Makes the card's context the calling thread's, for a scope. A thread that has none keeps it, as
// with the CUDA run-time library.
class InContext {
 public:
  explicit InContext(const CudaCard& card) : driver_(*card.driver_) {
    if (driver_.cuCtxGetCurrent(&previous_) != CUDA_SUCCESS) previous_ = nullptr;
    if (previous_ == card.context_) [[likely]] {
      previous_ = nullptr;
      return;
    }
    result_ = driver_.cuCtxSetCurrent(card.context_);
  }
  ~InContext() {
    if (previous_ != nullptr) driver_.cuCtxSetCurrent(previous_);
  }
  InContext(const InContext&) = delete;
  InContext& operator=(const InContext&) = delete;

  CUresult result() const { return result_; }

 private:
  const CudaDriver& driver_;
  CUcontext previous_ = nullptr;  // to go back to
  CUresult result_ = CUDA_SUCCESS;
};

}  // namespace fib::package
