#pragma once

// A new, empty folder for one call, gone with its owner.

#include <filesystem>
#include <utility>

#include "runners/worker/file_descriptor.h"
#include "signatures/base/result.h"

namespace fib::agents {

class CallFolder {
 public:
  // `below` is made where it isn't there. What processes that were killed have left in it goes.
  static Result<CallFolder> make(const std::filesystem::path& below);
  CallFolder(CallFolder&& other) noexcept
      : path_(std::exchange(other.path_, {})), lock_(std::move(other.lock_)) {}
  CallFolder& operator=(CallFolder&&) = delete;
  ~CallFolder();
  const std::filesystem::path& path() const { return path_; }

 private:
  CallFolder(std::filesystem::path path, FileDescriptor lock)
      : path_(std::move(path)), lock_(std::move(lock)) {}
  std::filesystem::path path_;
  FileDescriptor lock_;  // on the folder: its process lives
};

}  // namespace fib::agents
