#pragma once

// Layered prefill (arXiv 2510.08055): a cohort of prompts passes the stack one contiguous group of
// layers a step, while decode rows pass all of it. Expert weights are then loaded once a prompt and
// layer instead of once a chunk.

#include "integrations/serving/engine/executor.h"

namespace fib {

// Doubles with the cohort from 1 (up to 512 prompt tokens) to 16 (above 4096), so that a step's
// prefill work stays near that of a 512-token chunk; at most one group a layer.
int num_layer_groups(int cohort_tokens, int num_layers);

// Groups differ by one layer at most.
LayerRange layer_group(int group, int num_groups, int num_layers);

}  // namespace fib
