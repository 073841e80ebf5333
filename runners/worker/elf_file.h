#pragma once

// Object files by their sections, symbols and relocations: shared objects of the host's compiler
// and device binaries of NVRTC are both ELF of 64 bits, little-endian. What a file claims is
// checked against its size before it is followed.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "signatures/base/result.h"

namespace fib {

struct ElfSection {
  std::string_view name;
  uint32_t type = 0;
  uint64_t flags = 0;
  uint64_t address = 0;
  uint64_t size = 0;
  std::span<const std::byte> bytes;  // empty where it has a size only (SHT_NOBITS)
  uint32_t link = 0, info = 0;       // sections, or what its type makes of them

  bool is_loaded() const;  // SHF_ALLOC
};

struct ElfSymbol {
  std::string_view name;
  uint32_t section = 0;  // 0: undefined here; above the number of sections: absolute, common
  uint64_t value = 0, size = 0;
  bool is_function = false;
};

struct ElfRelocation {
  uint64_t offset = 0;  // a section's in a relocatable file and in device code, else an address
  uint32_t type = 0, symbol = 0;
  int64_t addend = 0;  // 0 where it stands in the bytes that are relocated (SHT_REL)
};

// Views into bytes that must outlive it.
class ElfFile {
 public:
  // `where` names the bytes in errors.
  static Result<ElfFile> read(std::span<const std::byte> bytes, std::string_view where);

  const std::vector<ElfSection>& sections() const { return sections_; }
  const ElfSection* find(std::string_view name) const;
  // Of a section of symbols or of relocations; any other holds none.
  Result<std::vector<ElfSymbol>> symbols(const ElfSection& table) const;
  Result<std::vector<ElfRelocation>> relocations(const ElfSection& table) const;

 private:
  std::string where_;
  std::vector<ElfSection> sections_;
};

}  // namespace fib
