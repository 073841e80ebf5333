// `fib board` on a store of 100,000 verdicts has to answer in less than 100 ms; and what a commit
// costs. Rows are multiplied by SQL: one by one they would take minutes.

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <stdexcept>

#include "leaderboard/sqlite.h"
#include "leaderboard/store.h"

namespace fib {
namespace {

template <class T>
T require(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().to_string());
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

Solution make_solution() {
  Solution solution;
  solution.name = "rows";
  solution.author = "fib";
  solution.definition = "rmsnorm";
  solution.target_hardware = {"cpu"};
  solution.entry_point = "solution.cpp::run";
  solution.sources = {{"solution.cpp", std::string(4000, ' ')}};
  return solution;
}

Verdict make_verdict() {
  Verdict verdict;
  verdict.solution = "rows";
  verdict.signature = "rmsnorm_h4096";
  verdict.workload = "w";
  verdict.axes = Json{{"batch_size", 7}};
  verdict.device = {.target = "cpu", .name = "Bench CPU", .key = "BENCH_CPU"};
  verdict.config_key = "config";
  verdict.timestamp = "2026-01-02T03:04:05";
  verdict.log = std::string(500, 'x');
  for (TimingMode mode : {TimingMode::kCold, TimingMode::kWarm}) {
    verdict.timings.push_back({mode, Clock::kHost, {1000.0, 990.0, 1010.0}, 100, false});
    verdict.samples.push_back({mode, Clock::kHost, std::vector<Sample>(100, {.time_ns = 1000.0})});
  }
  return verdict;
}

class TemporaryStore {
 public:
  TemporaryStore()
      : file_(std::filesystem::temp_directory_path() / fmt::format("fib-bench-{}.db", ::getpid())) {
    remove();
    store_ = require(Store::open(file_));
  }
  ~TemporaryStore() {
    store_.reset();
    remove();
  }
  TemporaryStore(const TemporaryStore&) = delete;
  TemporaryStore& operator=(const TemporaryStore&) = delete;
  Store& store() { return *store_; }
  const std::filesystem::path& file() const { return file_; }

 private:
  void remove() {
    for (const char* suffix : {"", "-wal", "-shm"}) {
      std::filesystem::remove(file_.string() + suffix);
    }
  }
  std::filesystem::path file_;
  std::unique_ptr<Store> store_;
};

// 100,000 verdicts: 40 signatures x 25 workloads x 20 solutions, each judged `repeats` times over
// (with 5, the verdicts of 4 solutions). repeats = 1 is the worst case: nothing is superseded.
void fill(TemporaryStore& target, int repeats) {
  require(target.store().add(make_verdict(), make_solution(), Workload{.uuid = "w"}));
  const Database database = require(Database::open(target.file()));
  const auto multiply = [&](std::string_view sql, int count) {
    require(
        database.run(fmt::format("WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM "
                                 "n WHERE i < {}) {}",
                                 count, sql)));
  };
  Transaction transaction = require(Transaction::begin(database));
  const int solutions = 100 / repeats;
  multiply("INSERT INTO signatures SELECT i, 'signature' || i FROM n", 40);
  multiply(
      "INSERT INTO workloads SELECT i, i % 40 + 1, 'w' || i, i % 7 + 1, '', document "
      "FROM n, workloads WHERE id = 1",
      1000);
  multiply(
      "INSERT INTO solutions SELECT i, 'key' || i, 'solution' || i, author, definition, "
      "document, first_seen FROM n, solutions WHERE id = 1",
      solutions);
  multiply(fmt::format("INSERT INTO verdicts SELECT i, w.signature_id, (i / 1000) % {} + 1, w.id, "
                       "1, 1, v.status, v.reason, v.timestamp, v.document FROM n "
                       "JOIN workloads w ON w.id = i % 1000 + 1 JOIN verdicts v ON v.id = 1",
                       solutions),
           100'000);
  require(database.run(
      "REPLACE INTO latest SELECT signature_id, hardware_id, configuration_id, solution_id, "
      "workload_id, max(id), status, 1000.0 + id % 997, 990.0 + id % 997, 1010.0 + id % 997, 0.5 "
      "FROM verdicts GROUP BY 1, 2, 3, 4, 5"));
  require(transaction.commit());
}

void board_of_all_signatures(benchmark::State& state) {
  TemporaryStore target;
  fill(target, static_cast<int>(state.range(0)));
  size_t rows = 0;
  for (auto _ : state) {
    // As `fib board` does it: open, rank, close.
    const auto store = require(Store::open(target.file()));
    rows = require(store->board("")).size();
  }
  state.counters["verdicts"] = static_cast<double>(require(target.store().count_verdicts()));
  state.counters["rows"] = static_cast<double>(rows);
}
BENCHMARK(board_of_all_signatures)
    ->ArgName("repeats")
    ->Arg(1)
    ->Arg(5)
    ->Unit(benchmark::kMillisecond);

void board_of_one_signature(benchmark::State& state) {
  TemporaryStore target;
  fill(target, 1);
  for (auto _ : state) {
    const auto store = require(Store::open(target.file()));
    benchmark::DoNotOptimize(require(store->board("signature7")));
  }
}
BENCHMARK(board_of_one_signature)->Unit(benchmark::kMillisecond);

void add_verdict(benchmark::State& state) {
  TemporaryStore target;
  const Verdict verdict = make_verdict();
  const Solution solution = make_solution();
  const Workload workload{.uuid = "w"};
  for (auto _ : state) require(target.store().add(verdict, solution, workload));
}
BENCHMARK(add_verdict)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace fib

BENCHMARK_MAIN();
