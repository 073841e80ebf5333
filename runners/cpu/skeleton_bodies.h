#pragma once

// The mathematics of the skeletons, as C++ text over the names that skeleton.cpp declares.

#include <optional>
#include <string>
#include <string_view>

#include "signatures/signature.h"

namespace fib {

struct SkeletonBody {
  std::string task;   // statements of `void task(const Tensors& t, int64_t index)`
  std::string what;   // what one task is, for its comment
  std::string count;  // how many there are
};

std::optional<SkeletonBody> skeleton_body(const Signature& signature);

// Conversions between float and stored 16-bit formats, for the dtypes that the signature uses.
std::string skeleton_conversions(const Signature& signature);

}  // namespace fib
