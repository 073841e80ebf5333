#pragma once

// What the tests of both targets share: a dispatch over the house's solutions, and a problem's
// tensors in device memory, run and held against the reference.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

#include "harness/compare.h"
#include "harness/expected.h"
#include "integrations/package/dispatch.h"
#include "signatures/catalog.h"
#include "signatures/problem.h"
#include "signatures/solution_folder.h"
#include "tests/scratch_folder.h"
#include "workloads/inputs.h"

namespace fib {

// The value, or the test fails with the error's words.
template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().to_string());
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

inline const std::filesystem::path kSource = FIB_SOURCE_DIR;

// Solutions take seconds to compile: one build cache for all tests.
inline HouseDispatchOptions house_options() {
  return {.definitions = kSource / "signatures/definitions",
          .solutions = kSource / "leaderboard/solutions",
          .abi = kSource / "harness/abi",
          .device_sources = kSource / "runners/cuda/device",
          .cache_folder = std::filesystem::path(FIB_BINARY_DIR) / "package-test-cache",
          .worker_executable = FIB_TEST_WORKER};
}

inline const Catalog& catalog() {
  static const Catalog catalog = must(Catalog::builtin(house_options().definitions));
  return catalog;
}

// A solution folder of one file, as HouseDispatchOptions::solutions wants them.
inline void write_cpu_solution(const std::filesystem::path& solutions, const std::string& family,
                               const std::string& name, const std::string& code) {
  const Solution solution{
      .name = name,
      .definition = family,
      .author = "test",
      .language = SolutionLanguage::kCpp,
      .target_hardware = {"cpu"},
      .entry_point = "solution.cpp::fib_run",
      .sources = {{"solution.cpp", code}},
      .fib = {{"target", "cpu"}, {"entry", "solution.cpp"}, {"license", "Apache-2.0"}}};
  must(write_solution_folder(solution, solutions / "cpu" / family / name));
}

// Tensors of one problem, filled with the values of a seed.
class DeviceProblem {
 public:
  using Axes = std::vector<std::pair<std::string, int64_t>>;

  DeviceProblem(ServingDevice& device, const std::string& signature, const Axes& axes,
                uint64_t seed = 1)
      : device_(device), problem_(plan(signature, axes, seed)) {
    const auto sources = open_sources(inputs_);
    for (size_t i = 0; i < sources.size(); ++i) {
      const TensorDesc& desc = problem_.inputs[i];
      if (desc.is_host_scalar) {
        input_operands_.push_back(Operand::value(sources[i]->scalar()));
        continue;
      }
      input_operands_.push_back(operand_of(desc));
      std::vector<std::byte>& bytes = host_.emplace_back(desc.size_bytes());
      sources[i]->read_bytes(0, bytes);
      must(device_.upload(input_operands_.back().data, bytes.data(), bytes.size()));
      if (desc.is_host_visible) input_operands_.back().host = bytes.data();
    }
    for (const TensorDesc& desc : problem_.outputs) output_operands_.push_back(operand_of(desc));
    must(device_.synchronize());
  }

  const Problem& problem() const { return problem_; }
  std::vector<Operand>& inputs() { return input_operands_; }
  std::vector<Operand>& outputs() { return output_operands_; }
  Operand& input(const std::string& name) {
    for (size_t i = 0; i < problem_.inputs.size(); ++i) {
      if (problem_.inputs[i].name == name) return input_operands_[i];
    }
    throw std::logic_error(name);
  }
  KernelCall call(const PreparedWeights* prepared = nullptr) const {
    return {input_operands_, output_operands_, prepared};
  }

  // Nothing of what a kernel should write is there already.
  void clear_outputs() {
    for (size_t i = 0; i < output_operands_.size(); ++i) {
      must(device_.fill(output_operands_[i].data, 0x5A, problem_.outputs[i].size_bytes()));
    }
  }
  std::vector<std::byte> output(size_t i) {
    std::vector<std::byte> bytes(problem_.outputs[i].size_bytes());
    must(device_.download(bytes.data(), output_operands_[i].data, bytes.size()));
    must(device_.synchronize());
    return bytes;
  }

  // The outputs are within the signature's tolerance.
  void expect_right() {
    ExpectedCache cache({}, 0, size_t{1} << 30);
    const ExpectedPtr expected = must(cache.get(problem_, inputs_, 2));
    const ParallelFor here = [](int64_t count, const auto& body) { body(0, count); };
    for (size_t i = 0; i < problem_.outputs.size(); ++i) {
      const TensorDesc& desc = problem_.outputs[i];
      const Tolerance& tolerance = problem_.signature->fib.tolerances.at(desc.name);
      const ExpectedOutput& wanted = expected->outputs[i];
      const ErrorStats stats =
          compare_output(desc.dtype, output(i), wanted.exact, tolerance.max_error_rms, here);
      EXPECT_EQ(stats.nonfinite_mismatches, 0) << problem_.label() << " " << desc.name;
      EXPECT_EQ(stats.elements_over_bound, 0) << problem_.label() << " " << desc.name;
      EXPECT_LE(honest_ratio(stats, wanted.honest, desc.dtype), tolerance.honest_factor)
          << problem_.label() << " " << desc.name;
    }
  }

 private:
  Problem plan(const std::string& signature, const Axes& axes, uint64_t seed) {
    Workload workload;
    workload.uuid = "test";
    workload.axes = axes;
    const InputPlan plan =
        must(plan_inputs(must(fib::bind(must(catalog().find(signature)), workload))));
    inputs_ = with_seed(plan, seed);
    return plan.problem;
  }

  Operand operand_of(const TensorDesc& desc) {
    // One element more, so that empty tensors have an address as well.
    arrays_.push_back(must(device_.allocate(desc.size_bytes() + 16)));
    Operand operand = Operand::tensor(arrays_.back(), {});
    for (const int64_t size : desc.shape) operand.shape[operand.rank++] = size;
    return operand;
  }

  ServingDevice& device_;
  InputSet inputs_;
  const Problem problem_;
  std::deque<std::vector<std::byte>> host_;  // what was uploaded, until it was
  std::vector<DeviceArray> arrays_;
  std::vector<Operand> input_operands_, output_operands_;
};

// Keeps what it sees.
class NotingTap : public CallTap {
 public:
  void on_call(const Kernel& kernel, const KernelCall& call, double host_ns) override {
    signatures.push_back(kernel.signature().name);
    first_sizes.push_back(call.inputs[0].shape[0]);
    EXPECT_GE(host_ns, 0.0);
  }
  std::vector<std::string> signatures;
  std::vector<int64_t> first_sizes;
};

}  // namespace fib
