#pragma once

// The mathematics of the signatures we know, as plain device code for `fib solution new`: right
// and simple, a start and not an entry.

#include <optional>
#include <string>

#include "signatures/signature.h"

namespace fib {

struct CudaSkeletonBody {
  std::string helpers;  // before the kernel
  std::string body;     // what a block of 256 threads does for `item`
  std::string what;     // what one item is, for a comment
  std::string items;    // how many there are: an expression over axes
};

std::optional<CudaSkeletonBody> cuda_skeleton_body(const Signature& signature);

}  // namespace fib
