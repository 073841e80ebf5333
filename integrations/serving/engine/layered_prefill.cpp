#include "integrations/serving/engine/layered_prefill.h"

#include <algorithm>

namespace fib {

int num_layer_groups(int cohort_tokens, int num_layers) {
  constexpr int kTokensOfOneGroup = 512, kMostGroups = 16;
  int groups = 1;
  while (groups < kMostGroups && cohort_tokens > groups * kTokensOfOneGroup) groups *= 2;
  return std::min(groups, num_layers);
}

LayerRange layer_group(int group, int num_groups, int num_layers) {
  return {group * num_layers / num_groups, (group + 1) * num_layers / num_groups};
}

}  // namespace fib
