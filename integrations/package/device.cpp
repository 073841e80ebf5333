#include "integrations/package/device.h"

#include <utility>

namespace fib {

DeviceArray::DeviceArray(DeviceArray&& other) noexcept { *this = std::move(other); }

DeviceArray& DeviceArray::operator=(DeviceArray&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

DeviceArray::~DeviceArray() {
  if (data_ != nullptr) device_->free_bytes_at(data_);
}

HostArray::HostArray(HostArray&& other) noexcept { *this = std::move(other); }

HostArray& HostArray::operator=(HostArray&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

HostArray::~HostArray() {
  if (data_ != nullptr) device_->free_host_bytes_at(data_);
}

Result<DeviceArray> ServingDevice::allocate(size_t bytes) {
  DeviceArray array;
  if (bytes == 0) return array;
  array.data_ = FIB_TRY(allocate_bytes(bytes));
  array.device_ = this;
  array.bytes_ = bytes;
  return array;
}

Result<HostArray> ServingDevice::allocate_host(size_t bytes) {
  HostArray array;
  if (bytes == 0) return array;
  array.data_ = FIB_TRY(allocate_host_bytes(bytes));
  array.device_ = this;
  array.bytes_ = bytes;
  return array;
}

}  // namespace fib
