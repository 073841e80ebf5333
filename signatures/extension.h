#pragma once

// Reading what stands under a Definition's `fib` key. Private to signatures/.

#include "signatures/signature.h"

namespace fib {

// `signature` has everything but its extension: names are checked against it, and numbers of
// distributions may be expressions over its const axes.
Result<SignatureExtension> read_extension(const JsonView& view, const Signature& signature,
                                          Strictness strictness);

}  // namespace fib
