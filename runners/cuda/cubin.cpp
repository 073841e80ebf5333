#include "runners/cuda/cubin.h"

#include <elf.h>

#include <cstring>
#include <optional>
#include <string_view>

namespace fib {
namespace {

template <class T>
std::optional<T> read_at(std::span<const std::byte> bytes, size_t offset) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

}  // namespace

bool has_device_variables(std::span<const std::byte> cubin) {
  const auto header = read_at<Elf64_Ehdr>(cubin, 0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return true;
  const auto section = [&](size_t index) {
    return read_at<Elf64_Shdr>(cubin, header->e_shoff + index * sizeof(Elf64_Shdr));
  };
  const auto names = section(header->e_shstrndx);
  if (!names || names->sh_offset > cubin.size()) return true;
  const std::string_view text(reinterpret_cast<const char*>(cubin.data()), cubin.size());
  for (size_t i = 0; i < header->e_shnum; ++i) {
    const auto candidate = section(i);
    if (!candidate || names->sh_offset + candidate->sh_name >= text.size()) return true;
    // .nv.global holds zero-initialised variables, .nv.global.init the others.
    const bool is_global = text.substr(names->sh_offset + candidate->sh_name).starts_with(".nv.global");
    if (is_global && candidate->sh_size > 0) return true;
  }
  return false;
}

}  // namespace fib
