#pragma once

// An open device: what the package has for it, loaded.

#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "integrations/package/runtime/op.h"

namespace fib::package {

class Device {
 public:
  // kUnsupported if no solution of the table runs on the target.
  static Result<std::unique_ptr<fib_kernels_device>> open(const PackageTable& table,
                                                          std::unique_ptr<Target> target);
  explicit Device(std::unique_ptr<Target> target) : target_(std::move(target)) {}  // without ops
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const std::string& hardware() const { return target_->hardware(); }
  bool has_winners() const;
  Target& target() { return *target_; }

  // By index into PackageTable::signatures; it may have no solution that runs here.
  const fib_kernels_op* op(size_t row) const { return ops_.at(row).get(); }
  fib_kernels_status find(std::string_view signature, const fib_kernels_parameter* parameters,
                          size_t num_parameters, const fib_kernels_op** op) const;

 private:
  std::unique_ptr<Target> target_;  // outlives the ops
  std::vector<std::unique_ptr<fib_kernels_op>> ops_;
  std::unordered_map<std::string_view, std::vector<const fib_kernels_op*>> by_name_;
  // Expires with the device: threads then drop the plans that they keep.
  std::shared_ptr<const void> life_ = std::make_shared<int>(0);
};

// Opens what the options ask for. Fails with the status to return, its message kept.
fib_kernels_status open_device(const PackageTable& table, const fib_kernels_device_options& options,
                               std::unique_ptr<fib_kernels_device>* device);

}  // namespace fib::package

// The C interface's name for it.
struct fib_kernels_device final : fib::package::Device {
  using Device::Device;
};
