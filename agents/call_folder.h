#pragma once

// A new, empty folder for one call, gone with its owner.

#include <filesystem>
#include <utility>

#include "signatures/base/result.h"

namespace fib::agents {

class CallFolder {
 public:
  // `below` is made where it isn't there.
  static Result<CallFolder> make(const std::filesystem::path& below);
  CallFolder(CallFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  CallFolder& operator=(CallFolder&&) = delete;
  ~CallFolder();
  const std::filesystem::path& path() const { return path_; }

 private:
  explicit CallFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

}  // namespace fib::agents
