// Files that aren't stores, stores that are damaged, and disks that don't take them.

#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "leaderboard/sample_blob.h"
#include "leaderboard/schema.h"
#include "signatures/base/file.h"
#include "tests/leaderboard/store_fixture.h"

namespace fib {
namespace {

using namespace fib::testing;

void expect_mentions(const Error& error, std::string_view message, std::string_view remedy) {
  EXPECT_NE(error.message.find(message), std::string::npos) << error.to_string();
  EXPECT_NE(error.remedy.find(remedy), std::string::npos) << error.to_string();
}

// Runs `body` in a child process and returns its exit code.
int in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST(DamagedStore, TextFile) {
  ScratchFolder folder;
  const auto file = folder / "fib.db";
  ASSERT_TRUE(write_file_atomically(file, std::string(200, 'x')));
  const auto store = Store::open(file);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ErrorCode::kInvalidInput);
  EXPECT_EQ(store.error().where, file.string());
  expect_mentions(store.error(), "not an SQLite database", "mv '" + file.string() + "'");
}

TEST(DamagedStore, TruncatedFile) {
  ScratchFolder folder;
  const auto file = folder / "fib.db";
  {
    auto store = open_store(file);
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(add(*store, {.workload = fmt::format("w{}", i)}));
  }
  std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
  const auto store = Store::open(file);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ErrorCode::kInvalidInput);
  expect_mentions(store.error(), "the store is damaged", ".recover");
}

TEST(DamagedStore, OverwrittenPages) {
  ScratchFolder folder;
  const auto file = folder / "fib.db";
  {
    auto store = open_store(file);
    for (int i = 0; i < 200; ++i) ASSERT_TRUE(add(*store, {.workload = fmt::format("w{}", i)}));
  }
  std::string bytes = read_file(file).value();
  for (size_t i = bytes.size() / 4; i < bytes.size(); ++i) bytes[i] = '\x5a';
  ASSERT_TRUE(write_file_atomically(file, bytes));
  // Whatever is asked of it, the answer is an error that names the file, not a crash.
  auto store = Store::open(file);
  const Error error = store ? (*store)->query({}).error() : store.error();
  EXPECT_EQ(error.code, ErrorCode::kInvalidInput);
  expect_mentions(error, "the store is damaged", file.string() + ".damaged");
}

TEST(DamagedStore, DocumentThatIsNoVerdict) {
  ScratchFolder folder;
  const auto file = folder / "fib.db";
  auto store = open_store(file);
  const int64_t id = add(*store, {}).value();
  ASSERT_TRUE(Database::open(file).value().run("UPDATE verdicts SET document = '{\"a\": '"));
  const Error error = store->get(id).error();
  EXPECT_NE(error.where.find(fmt::format("{}: verdict {}", file.string(), id)), std::string::npos)
      << error.to_string();
}

TEST(DamagedStore, CutSamples) {
  ScratchFolder folder;
  const auto file = folder / "fib.db";
  auto store = open_store(file);
  const int64_t id = add(*store, {}).value();
  ASSERT_TRUE(Database::open(file).value().run("UPDATE samples SET data = x'0011'"));
  const Error error = store->get(id).error();
  EXPECT_EQ(error.where, fmt::format("{}: samples of verdict {}", file.string(), id));
  EXPECT_EQ(error.message, "2 bytes of samples are no whole number of 36-byte records");
}

TEST(StoreOnDisk, FolderThatIsNotThere) {
  ScratchFolder folder;
  const auto store = Store::open(folder / "nowhere/fib.db");
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ErrorCode::kIo);
  EXPECT_EQ(store.error().where, (folder / "nowhere/fib.db").string());
  expect_mentions(store.error(), "can't be opened or created", "--store");
}

TEST(StoreOnDisk, FolderThatCantBeWritten) {
  const auto store = Store::open("/proc/fib.db");  // refuses new files to root as well
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ErrorCode::kIo);
  expect_mentions(store.error(), "can't be opened or created", "writable");
}

TEST(StoreOnDisk, FileThatCantBeWritten) {
  ScratchFolder folder;
  const auto file = folder / "fib.db";
  ASSERT_TRUE(add(*open_store(file), {}));
  std::filesystem::permissions(file, std::filesystem::perms(0444));
  std::filesystem::permissions(file.parent_path(), std::filesystem::perms(0555));
  const int code = in_child([&] {
    if (::geteuid() == 0 && ::seteuid(65534) != 0) return 0;
    auto store = Store::open(file);
    const auto added = store ? add(**store, {}) : Result<int64_t>(fail(store.error()));
    return !added && added.error().code == ErrorCode::kIo ? 0 : 1;
  });
  std::filesystem::permissions(file.parent_path(), std::filesystem::perms(0755));
  EXPECT_EQ(code, 0);
}

TEST(StoreOnDisk, FullDiskLosesNothingStored) {
  ScratchFolder folder;
  const auto file = folder / "fib.db";
  auto store = open_store(file);
  const int64_t first = add(*store, {}).value();
  store.reset();
  // A limit on file sizes stands in for the full disk.
  const int code = in_child([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    auto child_store = Store::open(file);
    if (!child_store) return 2;
    const rlimit limit{256 << 10, 256 << 10};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    for (int i = 0; i < 2000; ++i) {
      const auto id = add(**child_store, {.workload = fmt::format("w{}", i)});
      if (!id) {
        return id.error().code == ErrorCode::kIo && id.error().where == file.string() ? 0 : 3;
      }
    }
    return 4;
  });
  EXPECT_EQ(code, 0);
  store = open_store(file);
  EXPECT_TRUE(store->get(first));
  EXPECT_TRUE(add(*store, {})) << "goes on when there is room again";
}

TEST(StoreOnDisk, FullDatabaseIsNamedAsSuch) {
  const Error error = sqlite_error(SQLITE_FULL, "database or disk is full", "fib.db");
  EXPECT_EQ(error.code, ErrorCode::kIo);
  expect_mentions(error, "the disk is full", "goes on where it stood");
}

TEST(StoreOnDisk, LockedByAnotherProcess) {
  ScratchFolder folder;
  const auto file = folder / "fib.db";
  auto store = open_store(file);
  ASSERT_TRUE(add(*store, {}));
  const Database other = Database::open(file).value();
  const Transaction held = Transaction::begin(other).value();
  const auto added = add(*store, {});
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code, ErrorCode::kConflict);
  expect_mentions(added.error(), "locked by another process (waited 5 s)", "has finished");
  EXPECT_EQ(store->count_verdicts().value(), 1) << "reading goes on";
}

}  // namespace
}  // namespace fib
