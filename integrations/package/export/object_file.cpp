#include "integrations/package/export/object_file.h"

#include <elf.h>

#include <cstring>
#include <vector>

#include "signatures/base/file.h"

namespace fib {
namespace {

// `count` structs at `offset`; nothing if they don't lie in the file.
template <class T>
std::vector<T> read_table(std::string_view bytes, uint64_t offset, uint64_t count) {
  if (offset > bytes.size() || count > (bytes.size() - offset) / sizeof(T)) return {};
  std::vector<T> table(count);
  if (count > 0) std::memcpy(table.data(), bytes.data() + offset, count * sizeof(T));
  return table;
}

bool is_object(const std::vector<Elf64_Ehdr>& header) {
  return !header.empty() && std::memcmp(header[0].e_ident, ELFMAG, SELFMAG) == 0 &&
         header[0].e_ident[EI_CLASS] == ELFCLASS64 && header[0].e_type == ET_REL &&
         header[0].e_shentsize == sizeof(Elf64_Shdr);
}

bool is_visible(const Elf64_Sym& symbol) {
  return symbol.st_shndx != SHN_UNDEF && ELF64_ST_BIND(symbol.st_info) != STB_LOCAL;
}

}  // namespace

Result<ObjectFile> read_object_file(const std::filesystem::path& file) {
  const std::string bytes = FIB_TRY(read_file(file));
  const auto damaged = [&] {
    return fail(ErrorCode::kInvalidInput, "is no whole 64-bit ELF object", file.string());
  };
  const auto header = read_table<Elf64_Ehdr>(bytes, 0, 1);
  if (!is_object(header)) return damaged();
  const auto sections = read_table<Elf64_Shdr>(bytes, header[0].e_shoff, header[0].e_shnum);
  ObjectFile object;
  bool has_symbols = false;
  for (const Elf64_Shdr& section : sections) {
    const bool is_constructors =
        section.sh_type == SHT_INIT_ARRAY || section.sh_type == SHT_PREINIT_ARRAY;
    object.runs_when_loaded |= is_constructors && section.sh_size > 0;
    if (section.sh_type != SHT_SYMTAB) continue;
    if (section.sh_link >= sections.size()) return damaged();
    const Elf64_Shdr& names = sections[section.sh_link];
    const auto text = read_table<char>(bytes, names.sh_offset, names.sh_size);
    if (text.empty() || text.back() != '\0') return damaged();
    const auto symbols =
        read_table<Elf64_Sym>(bytes, section.sh_offset, section.sh_size / sizeof(Elf64_Sym));
    has_symbols = !symbols.empty();
    for (const Elf64_Sym& symbol : symbols) {
      if (symbol.st_name >= text.size()) return damaged();
      if (is_visible(symbol)) object.visible.insert(text.data() + symbol.st_name);
    }
  }
  if (!has_symbols) return damaged();
  return object;
}

}  // namespace fib
