#include "integrations/serving/engine/executor.h"

namespace fib {

int Step::num_tokens() const {
  int count = 0;
  for (const StepSegment& segment : decode) count += segment.num_tokens();
  for (const StepSegment& segment : prefill) count += segment.num_tokens();
  return count;
}

}  // namespace fib
