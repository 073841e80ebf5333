#pragma once

// Unicode normalisation of text before it is tokenised.

#include <string>
#include <string_view>
#include <vector>

#include "signatures/base/json.h"

namespace fib {

class Normalizer {
 public:
  Normalizer() = default;  // leaves text as it is
  // From tokenizer.json's /normalizer: NFC, NFD, NFKC, NFKD and sequences of them.
  static Result<Normalizer> read(const JsonView& view);

  // `text` is valid UTF-8. kInvalidInput for a heap of combining marks that no writing has.
  Result<std::string> apply(std::string_view text) const;

 private:
  std::vector<int> forms_;  // utf8proc's options of each step
};

}  // namespace fib
