#pragma once

// The house's solutions for one target, and which of them serves a signature.

#include <filesystem>
#include <vector>

#include "signatures/solution_folder.h"

namespace fib {

class HouseSolutions {
 public:
  // <folder>/<target>/<family>/<solution>/solution.json, all of them.
  static Result<HouseSolutions> read(const std::filesystem::path& folder, std::string target);

  // Those that fit, best first: more than one where the best may not build for every card. Errors:
  // there is none (kNotFound), or two of which none is named as the better one (kConflict).
  Result<std::vector<const Solution*>> for_signature(const Signature& signature) const;

 private:
  std::string target_;
  std::vector<Solution> solutions_;
};

}  // namespace fib
