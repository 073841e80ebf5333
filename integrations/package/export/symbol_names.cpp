#include "integrations/package/export/symbol_names.h"

#include <fmt/format.h>

#include <set>

namespace fib {
namespace {

constexpr const char* kPrepareSuffix = "_prepare";  // of the second function of each signature

std::string identifier(std::string_view text) {
  std::string name;
  for (const unsigned char c : text) {
    name += c < 0x80 && std::isalnum(c) != 0 ? static_cast<char>(c) : '_';
  }
  return name;
}

std::string name_of(const PackagedSignature& packaged) {
  std::string name = packaged.signature->name;
  size_t i = 0;
  for (const auto& [parameter, value] : packaged.signature->fib.parameters) {
    if (value != packaged.own_parameters[i++]) name += fmt::format("_{}_{}", parameter, value);
  }
  return identifier(name);
}

}  // namespace

std::vector<std::string> tvm_ffi_names(const PackageSpec& spec) {
  std::vector<std::string> names;
  std::set<std::string> taken;
  for (const PackagedSignature& packaged : spec.signatures) {
    const std::string wanted = name_of(packaged);
    std::string name = wanted;
    for (int i = 2; taken.contains(name) || taken.contains(name + kPrepareSuffix); ++i) {
      name = fmt::format("{}_{}", wanted, i);
    }
    taken.insert({name, name + kPrepareSuffix});
    names.push_back(std::move(name));
  }
  return names;
}

}  // namespace fib
