#pragma once

// Problems and explicit inputs for the tests of workloads/ and reference/.

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "reference/reference.h"
#include "signatures/problem.h"
#include "workloads/inputs.h"

namespace fib {

// A signature from an abbreviated definition (relaxed: a foreign one), or a failed test.
inline SignaturePtr make_signature(std::string_view text) {
  const Result<Json> json = parse_json(text, "test");
  EXPECT_TRUE(json) << json.error().to_string();
  Result<Signature> signature = signature_from_json(*json, "test.json", Strictness::kTolerant);
  EXPECT_TRUE(signature) << signature.error().to_string();
  return std::make_shared<const Signature>(*std::move(signature));
}

// `axes` and `inputs` as in a workload row.
inline Problem make_problem(SignaturePtr signature, std::string_view workload_text,
                            const std::filesystem::path& root = {}) {
  const Result<Json> json = parse_json(workload_text, "test");
  EXPECT_TRUE(json) << json.error().to_string();
  Result<Workload> workload = workload_from_json(*json, "rows.jsonl:7", Strictness::kTolerant);
  EXPECT_TRUE(workload) << workload.error().to_string();
  workload->root = root;
  workload->where = "rows.jsonl:7";
  Result<Problem> problem = fib::bind(std::move(signature), *workload);
  EXPECT_TRUE(problem) << problem.error().to_string();
  return *std::move(problem);
}

inline std::vector<int64_t> integers_of(const InputPlan& plan, std::string_view name) {
  const auto sources = open_sources(with_seed(plan, 1));
  for (const auto& source : sources) {
    if (source->desc().name != name) continue;
    std::vector<int64_t> values(static_cast<size_t>(source->desc().num_elements()));
    source->read(0, std::span<int64_t>(values));
    return values;
  }
  ADD_FAILURE() << "no input " << name;
  return {};
}

inline void on_two_threads(int64_t count,
                           const std::function<void(int64_t begin, int64_t end)>& body) {
  std::thread other([&] { body(count / 2, count); });
  body(0, count / 2);
  other.join();
}

// Floats and integers as an input's bytes.
inline InputBytes bytes_of(DType dtype, const std::vector<double>& values) {
  auto bytes = std::make_shared<std::vector<std::byte>>(
      storage_bytes(dtype, static_cast<int64_t>(values.size())));
  for (size_t i = 0; i < values.size(); ++i) {
    store_element(dtype, bytes->data(), static_cast<int64_t>(i), values[i]);
  }
  return bytes;
}

inline Result<ReferenceOutputs> run_reference(const Problem& problem, const InputSet& inputs,
                                              Precision precision) {
  const Reference* reference = find_reference(problem.signature->fib.reference);
  if (!reference) return fail(ErrorCode::kNotFound, "no reference");
  const auto sources = open_sources(inputs);
  return reference->run({problem, sources, precision, on_two_threads});
}

// Every element of an input, as doubles.
inline std::vector<double> values_of(const InputSet& inputs, std::string_view name) {
  for (const auto& source : open_sources(inputs)) {
    if (source->desc().name != name) continue;
    std::vector<double> values(static_cast<size_t>(source->desc().num_elements()));
    std::vector<std::byte> bytes(source->desc().size_bytes());
    source->read_bytes(0, bytes);
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = load_element(source->desc().dtype, bytes.data(), static_cast<int64_t>(i));
    }
    return values;
  }
  ADD_FAILURE() << "no input " << name;
  return {};
}

}  // namespace fib
