#pragma once

// All the signatures at hand: the built-in families and, on top, datasets given by the user.

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "signatures/signature.h"

namespace fib {

class Catalog {
 public:
  // Reads every family and definition below `folder` (our own format, strict).
  static Result<Catalog> builtin(const std::filesystem::path& folder);

  // Adds the definitions of a FlashInfer-Trace dataset (tolerant; any nesting). Where a name is
  // already known the known one is kept if inputs and outputs agree, else it is an error.
  Result<void> add_dataset(const std::filesystem::path& root);

  // By name; a family's unlisted instance is made on the fly. Error lists the nearest names.
  Result<SignaturePtr> find(std::string_view name) const;
  std::vector<SignaturePtr> all() const;  // sorted by op_type, then name

 private:
  struct Family {
    std::filesystem::path file;
    std::string pattern;  // of its instances' names
  };
  std::vector<SignaturePtr> signatures_;
  std::vector<Family> families_;
};

}  // namespace fib
