#include "runners/cuda/cubin.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include "runners/worker/elf_file.h"
#include "signatures/base/hash.h"

namespace fib {
namespace {

// Entries of .nv.info and .nv.info.KERNEL: a format, an attribute, and two bytes that are a value
// or, of kSized, the number of bytes that follow.
constexpr uint8_t kSized = 4;
constexpr uint8_t kParameterBank = 0x0a;  // {symbol, offset and size}
constexpr size_t kSymbolBytes = 4;

struct Attribute {
  uint8_t format = 0, attribute = 0;
  uint16_t value = 0;
  std::string_view payload;
};

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

uint32_t symbol_in(std::string_view payload) {
  uint32_t symbol = 0;
  if (payload.size() >= kSymbolBytes) std::memcpy(&symbol, payload.data(), kSymbolBytes);
  return symbol;
}

Result<std::vector<Attribute>> attributes_of(const ElfSection& section) {
  std::string_view rest = text_of(section.bytes);
  std::vector<Attribute> attributes;
  while (rest.size() >= 4) {
    Attribute entry{.format = static_cast<uint8_t>(rest[0]),
                    .attribute = static_cast<uint8_t>(rest[1]),
                    .payload = {}};
    std::memcpy(&entry.value, rest.data() + 2, sizeof entry.value);
    rest.remove_prefix(4);
    if (entry.format == kSized) {
      if (entry.value > rest.size()) {
        return fail(ErrorCode::kInvalidInput, "an attribute ends early", std::string(section.name));
      }
      entry.payload = rest.substr(0, entry.value);
      rest.remove_prefix(entry.value);
    }
    attributes.push_back(entry);
  }
  return attributes;
}

// Walks from a kernel along its relocations. What is met gets a number in the order of meeting, so
// that neither names nor places in the file count.
class KernelWalk {
 public:
  static Result<KernelIdentity> walk(const ElfFile& file, std::string_view symbol) {
    const ElfSection* table = file.find(".symtab");
    KernelWalk walk(file);
    if (table != nullptr) walk.symbols_ = FIB_TRY(file.symbols(*table));
    const std::string name = ".text." + std::string(symbol);
    const ElfSection* kernel = file.find(name);
    if (kernel == nullptr) {
      return fail(ErrorCode::kNotFound, "the device binary has no kernel of this name",
                  std::string(symbol));
    }
    // Banks without a kernel's name belong to all of them, who read them by fixed offsets:
    // `__constant__` variables, and addresses of `__device__` ones.
    for (const ElfSection& section : file.sections()) {
      if (!is_constant_bank(section.name, "")) continue;
      walk.hash_.add(section.name).add(walk.number_of(section));
    }
    walk.number_of(*kernel);
    for (size_t next = 0; next < walk.met_.size(); ++next) {
      FIB_CHECK(walk.add_section(*walk.met_[next]));
    }
    return KernelIdentity{.hash = walk.hash_.hex(), .code_bytes = walk.code_bytes_};
  }

 private:
  explicit KernelWalk(const ElfFile& file) : file_(file) { hash_.add("kernel-1"); }

  uint64_t number_of(const ElfSection& section) {
    const auto [found, is_new] = numbers_.emplace(&section, met_.size());
    if (is_new) met_.push_back(&section);
    return found->second;
  }

  Result<void> add_section(const ElfSection& section) {
    hash_.add("section").add(uint64_t{section.type}).add(section.flags).add(section.size);
    hash_.add(text_of(section.bytes));
    FIB_CHECK(add_relocations(section));
    constexpr std::string_view kText = ".text.";
    if (!section.name.starts_with(kText)) return {};
    code_bytes_ += static_cast<int64_t>(section.size);
    return add_function(section, section.name.substr(kText.size()));
  }

  // What belongs to a function by its name: attributes, literals, static shared memory.
  Result<void> add_function(const ElfSection& code, std::string_view name) {
    const std::string suffix = "." + std::string(name);
    const size_t code_index = static_cast<size_t>(&code - file_.sections().data());
    for (const ElfSection& section : file_.sections()) {
      if (section.name == ".nv.info") {
        FIB_CHECK(add_shared_attributes(section, code_index));
      } else if (section.name == ".nv.info" + suffix) {
        FIB_CHECK(add_attributes(section));
      } else if (section.name == ".nv.shared" + suffix || is_constant_bank(section.name, suffix)) {
        hash_.add(section.name.substr(0, section.name.size() - suffix.size()));
        hash_.add(number_of(section));
      }
    }
    return {};
  }

  // ".nv.constant0.NAME": parameters, literals.
  static bool is_constant_bank(std::string_view section, std::string_view suffix) {
    constexpr std::string_view kBank = ".nv.constant";
    return section.starts_with(kBank) && section.ends_with(suffix) &&
           section.size() <= kBank.size() + 2 + suffix.size();
  }

  Result<void> add_attributes(const ElfSection& section) {
    hash_.add("attributes");
    for (const Attribute& entry : FIB_TRY(attributes_of(section))) {
      add_attribute(entry, entry.format == kSized && entry.attribute == kParameterBank);
    }
    return {};
  }

  // Of the binary's attributes those of this function: registers, frame, stack.
  Result<void> add_shared_attributes(const ElfSection& section, size_t code) {
    hash_.add("function");
    for (const Attribute& entry : FIB_TRY(attributes_of(section))) {
      if (entry.format != kSized || entry.payload.size() < kSymbolBytes) continue;
      const uint32_t symbol = symbol_in(entry.payload);
      if (symbol < symbols_.size() && symbols_[symbol].section == code) add_attribute(entry, true);
    }
    return {};
  }

  void add_attribute(const Attribute& entry, bool begins_with_symbol) {
    hash_.add((uint64_t{entry.format} << 32) | (uint64_t{entry.attribute} << 16) | entry.value);
    hash_.add(begins_with_symbol && entry.payload.size() >= kSymbolBytes
                  ? entry.payload.substr(kSymbolBytes)
                  : entry.payload);
  }

  Result<void> add_relocations(const ElfSection& section) {
    const size_t index = static_cast<size_t>(&section - file_.sections().data());
    for (const ElfSection& table : file_.sections()) {
      if (table.info != index) continue;
      for (const ElfRelocation& relocation : FIB_TRY(file_.relocations(table))) {
        hash_.add(relocation.offset).add(uint64_t{relocation.type});
        hash_.add(static_cast<uint64_t>(relocation.addend));
        if (relocation.symbol >= symbols_.size()) {
          return fail(ErrorCode::kInvalidInput, "a relocation names no symbol",
                      std::string(table.name));
        }
        const ElfSymbol& symbol = symbols_[relocation.symbol];
        if (symbol.section > 0 && symbol.section < file_.sections().size()) {
          hash_.add(number_of(file_.sections()[symbol.section])).add(symbol.value);
        } else {
          hash_.add(symbol.name);
        }
      }
    }
    return {};
  }

  const ElfFile& file_;
  std::vector<ElfSymbol> symbols_;
  std::map<const ElfSection*, uint64_t> numbers_;
  std::vector<const ElfSection*> met_;
  Hasher hash_;
  int64_t code_bytes_ = 0;
};

}  // namespace

bool has_device_variables(std::span<const std::byte> cubin) {
  const auto file = ElfFile::read(cubin, "cubin");
  if (!file) return true;
  // .nv.global holds zero-initialised variables, .nv.global.init the others.
  return std::any_of(file->sections().begin(), file->sections().end(),
                     [](const ElfSection& section) {
                       return section.name.starts_with(".nv.global") && section.size > 0;
                     });
}

Result<KernelIdentity> kernel_identity(std::span<const std::byte> cubin, std::string_view symbol) {
  return KernelWalk::walk(FIB_TRY(ElfFile::read(cubin, "the device binary")), symbol);
}

}  // namespace fib
