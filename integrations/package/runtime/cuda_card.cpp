#include "integrations/package/runtime/cuda_card.h"

#include <fmt/format.h>

namespace fib::package {

Result<std::unique_ptr<CudaCard>> CudaCard::open(CudaDriverPtr driver, int device_id) {
  std::unique_ptr<CudaCard> card(new CudaCard);
  card->driver_ = std::move(driver);
  card->id_ = device_id;
  const CudaDriver& cuda = *card->driver_;
  card->facts_ = FIB_TRY(read_device_facts(cuda, device_id));
  FIB_CHECK(cuda.check(cuda.cuDeviceGet(&card->device_, device_id), "cuDeviceGet"));
  if (auto retained = cuda.check(cuda.cuDevicePrimaryCtxRetain(&card->context_, card->device_),
                                 fmt::format("no context on {}", card->facts_.name));
      !retained) {
    Error error = std::move(retained).error();
    if (error.code == ErrorCode::kEnvironment) error.code = ErrorCode::kWorkerLost;
    return fail(std::move(error));
  }
  return card;
}

CudaCard::~CudaCard() {
  if (context_ != nullptr) driver_->cuDevicePrimaryCtxRelease(device_);
}

}  // namespace fib::package
