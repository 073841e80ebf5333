#include "leaderboard/store.h"

#include <gtest/gtest.h>

#include <thread>

#include "leaderboard/schema.h"
#include "tests/leaderboard/store_fixture.h"

namespace fib {
namespace {

using namespace fib::testing;

TEST(Store, GivesBackWhatWasAdded) {
  ScratchFolder folder;
  auto store = open_store(folder / "fib.db");
  Verdict verdict = make_verdict({});
  verdict.message = "fine";
  verdict.log = "note: naïve\n";
  const auto id = store->add(verdict, make_solution("rows"), make_workload("w1", 2.5));
  ASSERT_TRUE(id) << id.error().to_string();

  const auto read = store->get(*id);
  ASSERT_TRUE(read) << read.error().to_string();
  verdict.id = *id;
  EXPECT_EQ(dump_json(verdict_to_json(*read)), dump_json(verdict_to_json(verdict)));
  ASSERT_EQ(read->samples.size(), 1u);
  EXPECT_EQ(read->samples[0].clock, Clock::kHost);
  ASSERT_EQ(read->samples[0].samples.size(), 2u);
  EXPECT_EQ(read->samples[0].samples[0].calls, 3u);
  EXPECT_EQ(read->samples[0].samples[1].time_ns, 0.1);
  EXPECT_EQ(read->samples[0].samples[1].throttle_reasons, 4u);

  const auto workload = store->workload("rmsnorm_h4096", "w1");
  ASSERT_TRUE(workload) << workload.error().to_string();
  EXPECT_EQ(workload->axis("batch_size"), 7);
  EXPECT_EQ(workload->weight, 2.5);
}

TEST(Store, KeepsSourcesOnceForEachKey) {
  ScratchFolder folder;
  auto store = open_store(folder / "fib.db");
  const Solution first = make_solution("rows", "fib", "one");
  const Solution second = make_solution("rows", "fib", "two");
  ASSERT_TRUE(store->add(make_verdict({}), first, make_workload("w1")));
  ASSERT_TRUE(store->add(make_verdict({}), first, make_workload("w1")));
  ASSERT_TRUE(store->add(make_verdict({}), second, make_workload("w1")));
  EXPECT_EQ(store->solutions()->size(), 2u);
  EXPECT_EQ(store->solution("rows")->sources.at(0).content, "two") << "of one name, the newest";
  EXPECT_EQ(store->solution(solution_key(first))->sources.at(0).content, "one");
}

TEST(Store, ResumesByKey) {
  ScratchFolder folder;
  auto store = open_store(folder / "fib.db");
  const int64_t id = add(*store, {}).value();
  VerdictKey key{.solution_key = solution_key(make_solution("rows")),
                 .signature = "rmsnorm_h4096",
                 .workload = "w1",
                 .hardware = "TEST_CPU",
                 .config_key = "config-a"};
  EXPECT_EQ(store->find(key).value(), std::optional<int64_t>(id));
  const int64_t newer = add(*store, {}).value();
  EXPECT_EQ(store->find(key).value(), std::optional<int64_t>(newer)) << "the newest";

  // Each part of the key counts.
  for (std::string VerdictKey::*part :
       {&VerdictKey::solution_key, &VerdictKey::signature, &VerdictKey::workload,
        &VerdictKey::hardware, &VerdictKey::config_key}) {
    VerdictKey other = key;
    other.*part = "other";
    EXPECT_EQ(store->find(other).value(), std::nullopt);
  }
}

TEST(Store, QueriesNewestFirst) {
  ScratchFolder folder;
  auto store = open_store(folder / "fib.db");
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(add(*store, {.workload = fmt::format("w{}", i)}));
  ASSERT_TRUE(add(*store, {.solution = "plain", .status = VerdictStatus::kTimeout}));
  ASSERT_TRUE(add(*store, {.hardware = "OTHER"}));
  ASSERT_TRUE(add(*store, {.workload = "w0"}));

  const auto workloads = [&](const VerdictQuery& query) {
    const std::vector<Verdict> verdicts = store->query(query).value();
    std::string text;
    for (const Verdict& verdict : verdicts) text += verdict.workload + " ";
    return text;
  };
  EXPECT_EQ(workloads({}), "w0 w1 w1 w2 w1 w0 ");
  EXPECT_EQ(workloads({.limit = 2}), "w0 w1 ");
  EXPECT_EQ(workloads({.solution = "rows", .hardware = "TEST_CPU"}), "w0 w2 w1 w0 ");
  EXPECT_EQ(workloads({.hardware = "TEST_CPU", .only_latest = true}), "w0 w1 w2 w1 ");
  EXPECT_EQ(workloads({.status = "TIMEOUT"}), "w1 ");
  EXPECT_EQ(workloads({.signature = "gemm_n1_k1"}), "");
  EXPECT_EQ(store->count_verdicts().value(), 6);
  EXPECT_TRUE(store->query({}).value().front().samples.empty());
}

TEST(Store, UnknownNamesAreLocatedErrors) {
  ScratchFolder folder;
  auto store = open_store(folder / "fib.db");
  const Error verdict = store->get(12).error();
  EXPECT_EQ(verdict.code, ErrorCode::kNotFound);
  EXPECT_EQ(verdict.message, "there is no verdict 12");
  EXPECT_EQ(verdict.where, (folder / "fib.db").string());
  EXPECT_NE(store->solution("nobody").error().message.find("'nobody'"), std::string::npos);
  EXPECT_NE(store->workload("rmsnorm_h1", "w9").error().message.find("'w9' of rmsnorm_h1"),
            std::string::npos);
}

TEST(Store, KeepsForeignTracesOnce) {
  ScratchFolder folder;
  auto store = open_store(folder / "fib.db");
  Trace trace;
  trace.definition = "gemm_n128_k2048";
  trace.workload = make_workload("w1");
  trace.solution = "somebody's";
  Trace other = trace;
  other.solution = "another's";
  EXPECT_EQ(store->add_foreign_traces({trace, other, trace}, "dataset").value(), 2);
  EXPECT_EQ(store->add_foreign_traces({other}, "dataset").value(), 0);
  const auto traces = store->foreign_traces();
  ASSERT_TRUE(traces) << traces.error().to_string();
  ASSERT_EQ(traces->size(), 2u);
  EXPECT_EQ(traces->at(1).solution, "another's");
  EXPECT_TRUE(store->board("")->empty()) << "foreign traces are not our verdicts";
}

TEST(Store, SecondOpenSeesTheFirst) {
  ScratchFolder folder;
  {
    auto store = open_store(folder / "fib.db");
    ASSERT_TRUE(add(*store, {}));
  }
  auto store = open_store(folder / "fib.db");
  EXPECT_EQ(store->count_verdicts().value(), 1);
  EXPECT_EQ(store->schema_version(), newest_schema_version());
}

TEST(Store, ThreadsAndConnectionsWriteAtOnce) {
  ScratchFolder folder;
  constexpr int kWriters = 4, kEach = 10;
  std::vector<std::thread> writers;
  for (int writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([&, writer] {
      // All create the file together.
      auto store = Store::open(folder / "fib.db");
      ASSERT_TRUE(store) << store.error().to_string();
      for (int i = 0; i < kEach; ++i) {
        const auto id = add(**store, {.workload = fmt::format("w{}-{}", writer, i)});
        ASSERT_TRUE(id) << id.error().to_string();
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(open_store(folder / "fib.db")->count_verdicts().value(), kWriters * kEach);
}

}  // namespace
}  // namespace fib
