#pragma once

// A signature's contract in words, for people and for the models that write kernels.

#include <string>

#include "signatures/signature.h"

namespace fib {

// "RMS error at most 2x an honest implementation's, ...".
std::string tolerance_in_words(const Tolerance& tolerance);

// "hidden_states  bfloat16 [batch_size, hidden_size]": one tensor, with what is special about it.
std::string tensor_in_words(const Signature& signature, const TensorSpec& tensor);

// Axes, inputs, outputs, constraints, constants and what outputs are judged by, as Markdown.
std::string contract_in_words(const Signature& signature);

}  // namespace fib
