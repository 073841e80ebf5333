// How long reading takes: what a command pays before it does anything. Aim in a release build:
// all public definitions and workload files in under 100 ms.

#include <benchmark/benchmark.h>

#include <filesystem>
#include <string>
#include <vector>

#include "signatures/catalog.h"
#include "signatures/trace.h"

namespace {

const std::filesystem::path kSources = FIB_SOURCE_DIR;
const std::filesystem::path kDataset = kSources / "../shared/data/flashinfer-trace";

std::vector<std::filesystem::path> files(const std::string& suffix) {
  std::vector<std::filesystem::path> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kDataset, ignored)) {
    const std::string name = entry.path().string();
    const bool is_wanted = name.ends_with(suffix) &&
                           (suffix == ".json" || name.find("/workloads") != std::string::npos);
    if (entry.is_regular_file() && is_wanted) found.push_back(entry.path());
  }
  return found;
}

void read_public_dataset(benchmark::State& state) {
  const auto definitions = files(".json");
  const auto workloads = files(".jsonl");
  if (definitions.empty()) {
    state.SkipWithError("the public dataset is not at hand");
    return;
  }
  int64_t rows = 0;
  for (auto _ : state) {
    rows = 0;
    for (const auto& file : definitions) {
      const auto signature = fib::read_signature(file, fib::Strictness::kTolerant);
      if (!signature) state.SkipWithError(signature.error().to_string().c_str());
    }
    for (const auto& file : workloads) {
      const auto traces = fib::read_traces(file, fib::Strictness::kTolerant);
      if (!traces) {
        state.SkipWithError(traces.error().to_string().c_str());
        break;
      }
      rows += static_cast<int64_t>(traces->size());
    }
  }
  state.counters["definitions"] = static_cast<double>(definitions.size());
  state.counters["workload_files"] = static_cast<double>(workloads.size());
  state.counters["rows"] = static_cast<double>(rows);
}
BENCHMARK(read_public_dataset)->Unit(benchmark::kMillisecond);

void read_builtin_catalog(benchmark::State& state) {
  for (auto _ : state) {
    const auto catalog = fib::Catalog::builtin(kSources / "signatures/definitions");
    if (!catalog) state.SkipWithError(catalog.error().to_string().c_str());
  }
}
BENCHMARK(read_builtin_catalog)->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
