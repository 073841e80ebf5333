#pragma once

// What a tokenizer puts around the tokens of a text.

#include <vector>

#include "integrations/serving/engine/request.h"
#include "signatures/base/json.h"

namespace fib {

struct PostProcessor {
  std::vector<TokenId> before, after;

  // From tokenizer.json's /post_processor: ByteLevel (which adds nothing), TemplateProcessing, or
  // a sequence of them.
  static Result<PostProcessor> read(const JsonView& view);
};

}  // namespace fib
