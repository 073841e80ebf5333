#pragma once

// Where a package's calls run: a serving device in the words of the C interface.

#include <memory>

#include "integrations/package/dispatch.h"
#include "integrations/package/include/fib_kernels.h"

namespace fib {

class PackageSeat {
 public:
  virtual ~PackageSeat() = default;
  virtual fib_kernels_device_options options() const = 0;
  virtual void* stream() const { return nullptr; }
  // On the device's thread, before the package is called.
  virtual Result<void> enter() const { return {}; }
  // kWorkerLost if the device is lost, whatever the error was called.
  virtual Error explain(Error error) const { return error; }
};

// From any thread; the device outlives the seat.
std::unique_ptr<PackageSeat> make_cpu_seat(ServingDevice& device);
Result<std::unique_ptr<PackageSeat>> make_cuda_seat(ServingDevice& device);
// Gives a card its kernels for random weights, if NVRTC is there to compile them. On the device's
// thread.
Result<void> prepare_card(ServingDevice& device, const HouseDispatchOptions& options);

}  // namespace fib
