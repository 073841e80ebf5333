#pragma once

// A small rmsnorm problem and a solution for it, for tests of the harness.

#include "signatures/problem.h"

namespace fib::testing {

inline SignaturePtr small_rmsnorm() {
  auto signature = std::make_shared<Signature>();
  signature->name = "rmsnorm_h8";
  signature->op_type = "rmsnorm";
  signature->axes = {{.name = "batch_size", .kind = Axis::Kind::kVar},
                     {.name = "hidden_size", .kind = Axis::Kind::kConst, .value = 8}};
  using Shape = std::vector<std::string>;
  signature->inputs = {
      {.name = "hidden_states", .shape = Shape{"batch_size", "hidden_size"}, .dtype = DType::kBFloat16},
      {.name = "weight", .shape = Shape{"hidden_size"}, .dtype = DType::kBFloat16}};
  signature->outputs = {
      {.name = "output", .shape = Shape{"batch_size", "hidden_size"}, .dtype = DType::kBFloat16}};
  signature->fib.reference = "rmsnorm";
  signature->fib.parameters = {{"eps", 1e-6}};
  signature->fib.tolerances["output"] = {.honest_factor = 2.0, .max_error_rms = 0.05};
  signature->fib.cost = {.bytes = "4 * batch_size * hidden_size + 2 * hidden_size",
                         .flops = "4 * batch_size * hidden_size",
                         .math = "fp32"};
  return signature;
}

inline Problem small_problem(int64_t batch_size) {
  Workload workload;
  workload.uuid = "b" + std::to_string(batch_size);
  workload.axes = {{"batch_size", batch_size}};
  return fib::bind(small_rmsnorm(), workload).value();
}

inline Solution small_solution(std::string name) {
  Solution solution;
  solution.name = std::move(name);
  solution.definition = "rmsnorm_h8";
  solution.author = "test";
  solution.sources = {{"kernel.cu", "// " + solution.name}};
  return solution;
}

}  // namespace fib::testing
