#include "leaderboard/schema.h"

#include <gtest/gtest.h>

#include "leaderboard/run_archive.h"
#include "signatures/base/file.h"
#include "tests/leaderboard/store_fixture.h"

namespace fib {
namespace {

using namespace fib::testing;

constexpr Migration kSteps[] = {
    {1, "CREATE TABLE animals (name TEXT)"},
    {2, "ALTER TABLE animals ADD COLUMN legs INTEGER NOT NULL DEFAULT 4"},
};

TEST(Schema, MigratesStepByStep) {
  ScratchFolder folder;
  const Database database = Database::open(folder / "a.db").value();
  ASSERT_EQ(migrate(database, std::span(kSteps).first(1)).value(), 1);
  ASSERT_TRUE(database.run("INSERT INTO animals VALUES ('cat')"));
  ASSERT_EQ(migrate(database, kSteps).value(), 2);
  EXPECT_EQ(database.integer("SELECT legs FROM animals").value(), 4);
  EXPECT_EQ(migrate(database, kSteps).value(), 2) << "nothing to do";
}

TEST(Schema, AFailedMigrationLeavesTheOldStore) {
  ScratchFolder folder;
  const Database database = Database::open(folder / "a.db").value();
  ASSERT_TRUE(migrate(database, std::span(kSteps).first(1)));
  const Migration broken[] = {kSteps[0], {2, "DROP TABLE animals; nonsense"}};
  const auto migrated = migrate(database, broken);
  ASSERT_FALSE(migrated);
  EXPECT_NE(migrated.error().message.find("nonsense"), std::string::npos);
  EXPECT_EQ(database.integer("SELECT count(*) FROM animals").value(), 0);
  EXPECT_EQ(database.integer("PRAGMA user_version").value(), 1);
}

TEST(Schema, RefusesANewerStore) {
  ScratchFolder folder;
  const Database database = Database::open(folder / "a.db").value();
  ASSERT_TRUE(migrate(database, kSteps));
  const Error error = migrate(database, std::span(kSteps).first(1)).error();
  EXPECT_EQ(error.code, ErrorCode::kUnsupported);
  EXPECT_EQ(error.where, (folder / "a.db").string());
  EXPECT_NE(error.message.find("schema is version 2, this one knows up to 1"), std::string::npos);
  EXPECT_NE(error.remedy.find("newer fib"), std::string::npos);
}

TEST(Schema, RefusesADatabaseOfAnotherProgram) {
  ScratchFolder folder;
  {
    const Database database = Database::open(folder / "a.db").value();
    ASSERT_TRUE(database.run("CREATE TABLE bookmarks (url TEXT)"));
  }
  const auto store = Store::open(folder / "a.db");
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().message, "not a store: an SQLite database of another program");
  EXPECT_NE(store.error().remedy.find("--store"), std::string::npos);
}

TEST(Schema, VersionsAreInOrderWithoutGaps) {
  int expected = 0;
  for (const Migration& step : migrations()) EXPECT_EQ(step.to_version, ++expected);
  EXPECT_EQ(newest_schema_version(), expected);
}

// tests/leaderboard/fixtures/vN.sql is what `sqlite3 fib.db .dump` wrote of a store of version N
// with one verdict. Every later version must open it and find that verdict.
std::unique_ptr<Store> open_dump(const ScratchFolder& folder, int version) {
  const auto dump =
      read_file(fmt::format("{}/tests/leaderboard/fixtures/v{}.sql", FIB_SOURCE_DIR, version));
  if (!dump) {
    ADD_FAILURE() << dump.error().to_string();
    return nullptr;
  }
  {
    const Database database = Database::open(folder / "old.db").value();
    EXPECT_TRUE(database.script(*dump));
    EXPECT_TRUE(database.script(fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {}",
                                            kApplicationId, version)));
  }
  return open_store(folder / "old.db");
}

TEST(Schema, OpensAStoreOfEveryVersion) {
  for (const Migration& step : migrations()) {
    SCOPED_TRACE(step.to_version);
    ScratchFolder folder;
    const auto store = open_dump(folder, step.to_version);
    ASSERT_NE(store, nullptr);
    EXPECT_EQ(store->schema_version(), newest_schema_version());
    const auto verdict = store->get(1);
    ASSERT_TRUE(verdict) << verdict.error().to_string();
    EXPECT_EQ(verdict->solution, "rows");
    EXPECT_EQ(verdict->samples.at(0).samples.at(0).time_ns, 1000.0);
    const auto rows = store->board("rmsnorm_h4096");
    ASSERT_TRUE(rows) << rows.error().to_string();
    ASSERT_EQ(rows->size(), 1u);
    EXPECT_NEAR(rows->at(0).geomean_latency_ns, 1000.0, 1e-9);
    ASSERT_TRUE(store->solution("rows"));
  }
}

TEST(Schema, AStoreFromBeforeThereWerePairsHasNoneAndTakesThem) {
  ScratchFolder folder;
  const auto store = open_dump(folder, 1);
  ASSERT_NE(store, nullptr);
  EXPECT_TRUE(store->paired({}).value().empty());
  EXPECT_TRUE(store->get(1)->paired_samples.empty());
  Verdict verdict = make_verdict({});
  verdict.paired = PairedResult::kSame;
  verdict.incumbent_key = solution_key(make_solution("rows"));
  verdict.speedup = verdict.speedup_low = verdict.speedup_high = 1.0;
  verdict.noise_floor = 0.01;
  ASSERT_TRUE(store->add(verdict, make_solution("rows"), make_workload("w1")));
  EXPECT_EQ(store->paired({})->size(), 1u);
}

TEST(Schema, OpensAPairOfVersion2) {
  ScratchFolder folder;
  const auto store = open_dump(folder, 2);
  ASSERT_NE(store, nullptr);
  const auto pairs = store->paired({.hardware = "TEST_CPU"});
  ASSERT_TRUE(pairs) << pairs.error().to_string();
  ASSERT_EQ(pairs->size(), 1u);
  EXPECT_EQ(pairs->at(0).incumbent, "plain");
  EXPECT_EQ(pairs->at(0).speedup_high, 1.3);
  EXPECT_TRUE(pairs->at(0).is_confirmed);
  EXPECT_EQ(store->get(1)->paired_samples.size(), 2u);
}

TEST(Schema, AStoreFromBeforeThereWereSearchesHasNoneAndTakesThem) {
  for (const int version : {1, 2}) {
    SCOPED_TRACE(version);
    ScratchFolder folder;
    ASSERT_NE(open_dump(folder, version), nullptr);
    const auto archive = RunArchive::open(folder / "old.db").value();
    EXPECT_TRUE(archive->runs()->empty());
    const auto run = archive->begin({.signature = "rmsnorm_h4096"});
    ASSERT_TRUE(run) << run.error().to_string();
    EXPECT_TRUE(archive->add({.run = *run}));
  }
}

TEST(Schema, OpensARunOfVersion3) {
  ScratchFolder folder;
  ASSERT_NE(open_dump(folder, 3), nullptr);
  const auto archive = RunArchive::open(folder / "old.db").value();
  const auto run = archive->run(1);
  ASSERT_TRUE(run) << run.error().to_string();
  EXPECT_EQ(run->state, RunState::kFinished);
  EXPECT_EQ(run->active_s, 5.0);
  EXPECT_EQ(run->options, Json({{"seed", 7}}));
  const auto candidates = archive->candidates(1);
  ASSERT_TRUE(candidates) << candidates.error().to_string();
  ASSERT_EQ(candidates->size(), 1u);
  EXPECT_EQ(candidates->at(0).seed, 0xfedcba9876543210);
  EXPECT_EQ(candidates->at(0).speedup_low, 1.2);
  EXPECT_EQ(candidates->at(0).verdicts, std::vector<int64_t>{1});
  EXPECT_EQ(archive->exchanges(1, 0)->at(0).content, "faster, please");
}

}  // namespace
}  // namespace fib
