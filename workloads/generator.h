#pragma once

// Values of one input from (seed, stream, element index), on the host. The device fill kernel
// (runners/cuda) includes the same abi/fib/philox.h and must agree to the bit; a gpu test says so.
//
//   kNormal      x = normal * b + a in fp32, unfused, rounded to the dtype; fp8/fp4 clamped to
//                a +- 2b before that
//   kUniform     x = uniform * (b - a) + a in fp32, unfused, rounded to the dtype
//   kUniformInt  a + bits % (b - a + 1)
//   kBits        the low bits of the element's 64
//   kDefault     floats: kNormal(0, 1); int8: its range; other integers: -1024..1024;
//                bool: a fair coin
// `stream` is the input's position in the signature; float4 elements are nibbles.

#include <fib/philox.h>

#include <cstdint>
#include <memory>

#include "signatures/tensor_source.h"

namespace fib {

struct Generated {
  uint64_t seed = 0;
  uint32_t stream = 0;
  Distribution distribution;  // never kDefault: resolve_distribution has been applied
};

Distribution resolve_distribution(const Distribution& distribution, DType dtype);

// The rule of abi/fib/philox.h for a resolved distribution: what the device fill kernel is given.
// kNormal and kUniform need a floating dtype.
ValueRule value_rule(const Distribution& distribution, DType dtype);

// One element, as stored bits in the low bits of the result. The definition that everything
// else agrees with.
uint64_t generated_bits(const Generated& generated, DType dtype, int64_t index);

// Fills packed storage of `count` elements from element `first` on.
void fill_generated(const Generated& generated, DType dtype, int64_t first, int64_t count,
                    std::byte* out);

std::unique_ptr<TensorSource> generated_source(TensorDesc desc, Generated generated);

}  // namespace fib
