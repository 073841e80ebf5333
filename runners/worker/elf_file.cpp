#include "runners/worker/elf_file.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>

namespace fib {
namespace {

template <class T>
std::optional<T> read_at(std::span<const std::byte> bytes, uint64_t offset) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

std::optional<std::span<const std::byte>> piece(std::span<const std::byte> bytes, uint64_t offset,
                                                uint64_t size) {
  if (offset > bytes.size() || bytes.size() - offset < size) return std::nullopt;
  return bytes.subspan(offset, size);
}

// The name that begins at `offset` of a string table; without its end it is none.
std::optional<std::string_view> name_at(std::span<const std::byte> strings, uint64_t offset) {
  const std::string_view text(reinterpret_cast<const char*>(strings.data()), strings.size());
  if (offset >= text.size()) return std::nullopt;
  const size_t end = text.find('\0', offset);
  if (end == std::string_view::npos) return std::nullopt;
  return text.substr(offset, end - offset);
}

Failure damaged(std::string_view where, std::string_view what) {
  return fail(ErrorCode::kInvalidInput, fmt::format("not a sound object file: {}", what),
              std::string(where), "build it again");
}

}  // namespace

bool ElfSection::is_loaded() const { return (flags & SHF_ALLOC) != 0; }

Result<ElfFile> ElfFile::read(std::span<const std::byte> bytes, std::string_view where) {
  const auto header = read_at<Elf64_Ehdr>(bytes, 0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
      header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB) {
    return damaged(where, "no 64-bit little-endian ELF");
  }
  ElfFile file;
  file.where_ = where;
  std::vector<uint32_t> names;
  for (uint64_t i = 0; i < header->e_shnum; ++i) {
    const auto section = read_at<Elf64_Shdr>(bytes, header->e_shoff + i * sizeof(Elf64_Shdr));
    if (!section) return damaged(where, "its list of sections ends early");
    const bool has_bytes = section->sh_type != SHT_NOBITS && section->sh_type != SHT_NULL;
    const auto content =
        has_bytes ? piece(bytes, section->sh_offset, section->sh_size) : bytes.first(0);
    if (!content) return damaged(where, fmt::format("section {} lies beyond its end", i));
    names.push_back(section->sh_name);
    file.sections_.push_back({.name = {},  // below
                              .type = section->sh_type,
                              .flags = section->sh_flags,
                              .address = section->sh_addr,
                              .size = section->sh_size,
                              .bytes = *content,
                              .link = section->sh_link,
                              .info = section->sh_info});
  }
  if (header->e_shstrndx >= file.sections_.size())
    return damaged(where, "its sections have no names");
  const std::span<const std::byte> strings = file.sections_[header->e_shstrndx].bytes;
  for (size_t i = 0; i < names.size(); ++i) {
    const auto name = name_at(strings, names[i]);
    if (!name) return damaged(where, fmt::format("section {} has no name", i));
    file.sections_[i].name = *name;
  }
  return file;
}

const ElfSection* ElfFile::find(std::string_view name) const {
  const auto found = std::find_if(sections_.begin(), sections_.end(),
                                  [&](const ElfSection& section) { return section.name == name; });
  return found == sections_.end() ? nullptr : &*found;
}

Result<std::vector<ElfSymbol>> ElfFile::symbols(const ElfSection& table) const {
  std::vector<ElfSymbol> symbols;
  if (table.type != SHT_SYMTAB && table.type != SHT_DYNSYM) return symbols;
  if (table.link >= sections_.size()) return damaged(where_, "its symbols have no names");
  for (uint64_t at = 0; at < table.bytes.size(); at += sizeof(Elf64_Sym)) {
    const auto symbol = read_at<Elf64_Sym>(table.bytes, at);
    const auto name = symbol ? name_at(sections_[table.link].bytes, symbol->st_name) : std::nullopt;
    if (!name) return damaged(where_, fmt::format("symbol {}", at / sizeof(Elf64_Sym)));
    symbols.push_back({.name = *name,
                       .section = symbol->st_shndx,
                       .value = symbol->st_value,
                       .size = symbol->st_size,
                       .is_function = ELF64_ST_TYPE(symbol->st_info) == STT_FUNC});
  }
  return symbols;
}

Result<std::vector<ElfRelocation>> ElfFile::relocations(const ElfSection& table) const {
  std::vector<ElfRelocation> relocations;
  if (table.type != SHT_RELA && table.type != SHT_REL) return relocations;
  const bool has_addend = table.type == SHT_RELA;
  const size_t entry = has_addend ? sizeof(Elf64_Rela) : sizeof(Elf64_Rel);
  for (uint64_t at = 0; at < table.bytes.size(); at += entry) {
    const auto relocation = read_at<Elf64_Rel>(table.bytes, at);
    const auto addend = has_addend
                            ? read_at<int64_t>(table.bytes, at + offsetof(Elf64_Rela, r_addend))
                            : int64_t{0};
    if (!relocation || !addend) return damaged(where_, "a relocation ends early");
    relocations.push_back({.offset = relocation->r_offset,
                           .type = static_cast<uint32_t>(ELF64_R_TYPE(relocation->r_info)),
                           .symbol = static_cast<uint32_t>(ELF64_R_SYM(relocation->r_info)),
                           .addend = *addend});
  }
  return relocations;
}

}  // namespace fib
