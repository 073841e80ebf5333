#pragma once

// What a shared object is to the processor, whatever its sources look like.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "signatures/base/result.h"

namespace fib {

struct SharedObjectIdentity {
  // Of instructions, data and relocations: equal, and it is the same program. Names count where
  // another object may give them their meaning: imports, the entry points (`fib_*`), and other
  // exported functions, by whose names the linker orders its tables. Unused functions count if the
  // linker kept them.
  std::string hash;
  int64_t code_bytes = 0;  // of instructions that come from the sources
};
// Error: unreadable bytes.
Result<SharedObjectIdentity> shared_object_identity(std::span<const std::byte> object);

}  // namespace fib
