#include <fcntl.h>
#include <fmt/format.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "runners/worker/process.h"

namespace fib {

Result<SharedMemory> SharedMemory::create(size_t bytes, std::string_view name) {
  const std::string label(name);
  FileDescriptor fd(::memfd_create(label.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid() || ::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0 ||
      ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("{} bytes of shared memory: {}", bytes, ::strerror(errno)), label);
  }
  return map(std::move(fd), bytes);
}

Result<SharedMemory> SharedMemory::adopt(int raw_fd, size_t bytes) {
  FileDescriptor fd(raw_fd);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("descriptor {} is not shared memory: {}", raw_fd, ::strerror(errno)));
  }
  if (static_cast<size_t>(status.st_size) < bytes) {
    return fail(
        ErrorCode::kInvalidInput,
        fmt::format("shared memory of {} bytes, where {} were promised", status.st_size, bytes));
  }
  const int seals = ::fcntl(fd.get(), F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    return fail(ErrorCode::kInvalidInput,
                "shared memory whose size isn't sealed: its owner could pull it away");
  }
  return map(std::move(fd), bytes);
}

Result<SharedMemory> SharedMemory::map(FileDescriptor fd, size_t bytes) {
  SharedMemory memory;
  memory.fd_ = std::move(fd);
  if (bytes == 0) return memory;
  void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.fd_.get(), 0);
  if (data == MAP_FAILED) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("can't map {} bytes of shared memory: {}", bytes, ::strerror(errno)));
  }
  memory.data_ = static_cast<std::byte*>(data);
  memory.size_ = bytes;
  return memory;
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : fd_(std::move(other.fd_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

SharedMemory::~SharedMemory() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

std::span<std::byte> SharedMemory::bytes() const { return {data_, size_}; }
int SharedMemory::fd() const { return fd_.get(); }

}  // namespace fib
