#include "runners/worker/shared_object.h"

#include <elf.h>

#include <algorithm>
#include <vector>

#include "runners/worker/elf_file.h"
#include "signatures/base/hash.h"

namespace fib {
namespace {

constexpr std::string_view kEntryPrefix = "fib_";

// How a program is found, unwound and linked, but not what it does. The contents of the GOT follow
// from the relocations.
bool is_left_out(const ElfSection& section) {
  switch (section.type) {
    case SHT_PROGBITS:
      return section.name.starts_with(".eh_frame") || section.name.starts_with(".got");
    case SHT_NOBITS:
    case SHT_INIT_ARRAY:
    case SHT_FINI_ARRAY:
    case SHT_PREINIT_ARRAY: return false;
    default: return true;
  }
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// An address by its section, since all of them move when a table before them grows.
std::string place_of(const ElfFile& file, uint64_t address) {
  for (const ElfSection& section : file.sections()) {
    if (!section.is_loaded() || address < section.address) continue;
    // Just behind the end still belongs to it: the end of an array.
    if (address - section.address <= section.size) {
      return std::string(section.name) + "+" + std::to_string(address - section.address);
    }
  }
  return std::to_string(address);
}

Result<std::vector<std::string>> relocations_of(const ElfFile& file,
                                                const std::vector<ElfSymbol>& imports) {
  std::vector<std::string> words;
  for (const ElfSection& table : file.sections()) {
    if (!table.is_loaded()) continue;
    for (const ElfRelocation& relocation : FIB_TRY(file.relocations(table))) {
      std::string word = place_of(file, relocation.offset) + " " + std::to_string(relocation.type);
      if (relocation.symbol == 0) {
        word += " " + place_of(file, static_cast<uint64_t>(relocation.addend));
      } else if (relocation.symbol < imports.size()) {
        const ElfSymbol& symbol = imports[relocation.symbol];
        word += " " +
                (symbol.section == 0 ? std::string(symbol.name) : place_of(file, symbol.value)) +
                " " + std::to_string(relocation.addend);
      } else {
        return fail(ErrorCode::kInvalidInput, "a relocation names no symbol",
                    std::string(table.name), "build it again");
      }
      words.push_back(std::move(word));
    }
  }
  std::sort(words.begin(), words.end());  // the linker sorts them by the places of names
  return words;
}

}  // namespace

Result<SharedObjectIdentity> shared_object_identity(std::span<const std::byte> object) {
  const ElfFile file = FIB_TRY(ElfFile::read(object, "the shared object"));
  Hasher hash;
  hash.add("shared-object-1");
  SharedObjectIdentity identity;
  for (const ElfSection& section : file.sections()) {
    if (!section.is_loaded() || is_left_out(section)) continue;
    hash.add(section.name).add(section.size).add(text_of(section.bytes));
    if (section.name == ".text") identity.code_bytes += static_cast<int64_t>(section.size);
  }
  std::vector<ElfSymbol> symbols;
  if (const ElfSection* table = file.find(".dynsym")) symbols = FIB_TRY(file.symbols(*table));
  std::vector<std::string> words = FIB_TRY(relocations_of(file, symbols));
  for (const ElfSymbol& symbol : symbols) {
    if (symbol.section == 0 || !symbol.name.starts_with(kEntryPrefix)) continue;
    words.push_back(std::string(symbol.name) + " " + place_of(file, symbol.value));
  }
  std::sort(words.begin(), words.end());
  for (const std::string& word : words) hash.add(word);
  identity.hash = hash.hex();
  return identity;
}

}  // namespace fib
