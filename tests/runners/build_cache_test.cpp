#include "runners/worker/build_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "signatures/base/file.h"
#include "tests/runners/temporary_folder.h"

namespace fib {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

class BuildCacheTest : public testing::Test {
 protected:
  BuildCache cache() {
    auto cache = BuildCache::open(root_);
    EXPECT_TRUE(cache) << cache.error().to_string();
    return *cache;
  }
  static BuildCache::Fill write(const std::string& content) {
    return [content](const fs::path& folder) -> Result<void> {
      fs::create_directory(folder / "log");
      FIB_CHECK(write_file_atomically(folder / "log" / "compile.txt", "no warnings"));
      return write_file_atomically(folder / "kernel.so", content);
    };
  }
  static std::string content(const fs::path& folder) {
    return read_file(folder / "kernel.so").value_or("");
  }
  size_t files_in_root() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(root_), {}));
  }
  void make_older(const fs::path& folder, double seconds) {
    fs::last_write_time(
        folder, fs::file_time_type::clock::now() - std::chrono::seconds(static_cast<int>(seconds)));
  }

  TemporaryFolder folder_;
  fs::path root_ = folder_.path() / "deep" / "cache";
};

TEST_F(BuildCacheTest, FindsWhatWasPublished) {
  EXPECT_EQ(*cache().find("abc"), std::nullopt);
  const auto published = cache().publish("abc", write("machine code"));
  ASSERT_TRUE(published) << published.error().to_string();
  EXPECT_EQ(content(*published), "machine code");
  const auto found = cache().find("abc");
  ASSERT_TRUE(found);
  EXPECT_EQ(*found, *published);
  EXPECT_TRUE(fs::exists(**found / "log" / "compile.txt"));
}

TEST_F(BuildCacheTest, TheFirstBuilderWins) {
  ASSERT_TRUE(cache().publish("abc", write("first")));
  const auto second = cache().publish("abc", write("second"));
  ASSERT_TRUE(second);
  EXPECT_EQ(content(*second), "first");
  EXPECT_EQ(files_in_root(), 1u);
}

TEST_F(BuildCacheTest, DamagedEntriesAreBuiltAgain) {
  const auto damage = {
      +[](const fs::path& entry) { fs::remove(entry / "fib-entry.json"); },
      +[](const fs::path& entry) { std::ofstream(entry / "fib-entry.json") << "{"; },
      +[](const fs::path& entry) { std::ofstream(entry / "kernel.so") << "machine cod!"; },
      +[](const fs::path& entry) { fs::resize_file(entry / "kernel.so", 3); },
      +[](const fs::path& entry) { fs::remove(entry / "log" / "compile.txt"); },
      +[](const fs::path& entry) { std::ofstream(entry / "stranger") << "x"; },
      +[](const fs::path& entry) {
        fs::remove(entry / "kernel.so");
        fs::create_symlink("/etc/passwd", entry / "kernel.so");
      }};
  for (const auto& hurt : damage) {
    const auto entry = cache().publish("abc", write("machine code"));
    ASSERT_TRUE(entry);
    hurt(*entry);
    const auto rebuilt = cache().publish("abc", write("rebuilt"));
    ASSERT_TRUE(rebuilt) << rebuilt.error().to_string();
    EXPECT_EQ(content(*rebuilt), "rebuilt");
    hurt(*rebuilt);
    const auto found = cache().find("abc");
    ASSERT_TRUE(found) << found.error().to_string();
    EXPECT_EQ(*found, std::nullopt);
    EXPECT_EQ(files_in_root(), 0u);
  }
}

TEST_F(BuildCacheTest, AFailedFillLeavesNothingBehind) {
  const auto failed = cache().publish("abc", [](const fs::path& folder) -> Result<void> {
    std::ofstream(folder / "half") << "x";
    return fail(ErrorCode::kTimeout, "the compiler hangs", "kernel.cpp");
  });
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().to_string(), "kernel.cpp: the compiler hangs");
  EXPECT_EQ(files_in_root(), 0u);
}

TEST_F(BuildCacheTest, AFullDiskLeavesNothingBehind) {
  const BuildCache full = cache();
  const pid_t child = ::fork();
  if (child == 0) {  // a limit on file sizes refuses writes as a full disk does
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit small{4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &small);
    const auto published = full.publish("abc", write(std::string(1 << 20, 'x')));
    ::_exit(!published && published.error().code == ErrorCode::kIo ? 42 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 42);
  EXPECT_EQ(files_in_root(), 0u);
}

TEST_F(BuildCacheTest, OnlyFilesAndFoldersArePublished) {
  const auto published = cache().publish("abc", [](const fs::path& folder) -> Result<void> {
    fs::create_symlink("/etc/passwd", folder / "link");
    return {};
  });
  ASSERT_FALSE(published);
  EXPECT_THAT(published.error().to_string(), HasSubstr("link: an entry holds only files"));
}

TEST_F(BuildCacheTest, SeveralProcessesBuildTheSameKeys) {
  constexpr int kBuilders = 4, kKeys = 25;
  std::vector<pid_t> builders;
  for (int builder = 0; builder < kBuilders; ++builder) {
    const pid_t child = ::fork();
    if (child == 0) {
      const BuildCache shared = *BuildCache::open(root_);
      for (int key = 0; key < kKeys; ++key) {
        const std::string name = "key" + std::to_string(key);
        const auto published = shared.publish(name, write(name));
        if (!published || content(*published) != name) ::_exit(1);
        const auto found = shared.find(name);
        if (!found || !*found || content(**found) != name) ::_exit(2);
      }
      ::_exit(42);
    }
    builders.push_back(child);
  }
  for (const pid_t builder : builders) {
    int status = 0;
    ::waitpid(builder, &status, 0);
    EXPECT_EQ(WEXITSTATUS(status), 42);
  }
  EXPECT_EQ(files_in_root(), static_cast<size_t>(kKeys));
}

TEST_F(BuildCacheTest, ABuilderThatIsKilledLeavesTheEntryAbsent) {
  const BuildCache shared = cache();
  const pid_t child = ::fork();
  if (child == 0) {
    (void)shared.publish("abc", [](const fs::path& folder) -> Result<void> {
      std::ofstream(folder / "half") << "x";
      ::raise(SIGKILL);
      return {};
    });
  }
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(*cache().find("abc"), std::nullopt);
  ASSERT_TRUE(cache().trim(1 << 30));
  EXPECT_EQ(files_in_root(), 1u) << "it may still be at work";
  make_older(fs::directory_iterator(root_)->path(), 7200);
  EXPECT_EQ(cache().trim(1 << 30).value_or(0), 1u);
  EXPECT_EQ(files_in_root(), 0u);
}

TEST_F(BuildCacheTest, TrimsTheLeastRecentlyUsedFirst) {
  for (const char* key : {"a", "b", "c"}) {
    ASSERT_TRUE(cache().publish(key, write(std::string(10'000, 'x'))));
  }
  make_older(root_ / "a", 300);
  make_older(root_ / "b", 200);
  make_older(root_ / "c", 100);
  ASSERT_TRUE(cache().find("a")->has_value());  // used now

  const auto entries = cache().entries();
  ASSERT_TRUE(entries);
  ASSERT_EQ(entries->size(), 3u);
  EXPECT_EQ(entries->front().key, "b");
  EXPECT_NEAR(entries->front().age_s, 200, 60);
  EXPECT_GT(entries->front().size_bytes, 10'000u);
  EXPECT_EQ(entries->back().key, "a");

  const auto freed = cache().trim(15'000);
  ASSERT_TRUE(freed);
  EXPECT_GT(*freed, 20'000u);
  EXPECT_FALSE(fs::exists(root_ / "b"));
  EXPECT_FALSE(fs::exists(root_ / "c"));
  EXPECT_TRUE(cache().find("a")->has_value());
}

TEST_F(BuildCacheTest, ClearRemovesEveryEntry) {
  ASSERT_TRUE(cache().publish("a", write("x")));
  ASSERT_TRUE(cache().publish("b", write("y")));
  ASSERT_TRUE(cache().clear());
  EXPECT_TRUE(cache().entries()->empty());
}

TEST_F(BuildCacheTest, StrangeKeysAreRefused) {
  for (const char* key : {"", ".", "..", "../x", "a/b", ".new-abc", "a b", "\xc3\xa4"}) {
    const auto found = cache().find(key);
    ASSERT_FALSE(found) << key;
    EXPECT_THAT(found.error().to_string(), StartsWith("build cache: '" + std::string(key) + "'"));
    EXPECT_FALSE(cache().publish(key, write("x")));
  }
}

TEST_F(BuildCacheTest, AFolderThatCannotBeMadeIsNamed) {
  const std::string file = folder_.write("file", "x").string();
  const auto cache = BuildCache::open(file + "/cache");
  ASSERT_FALSE(cache);
  EXPECT_THAT(cache.error().to_string(), StartsWith(file + "/cache: can't be made"));
}

TEST(HashFolder, SeesNamesAndContentsAtAnyDepth) {
  const TemporaryFolder folder;
  folder.write("fib/cpu.h", "one");
  folder.write("fib/cpu/gemm.h", "two");
  const auto hash = [&] {
    const auto result = hash_folder(folder.path());
    EXPECT_TRUE(result) << result.error().to_string();
    return *result;
  };
  const std::string before = hash();
  EXPECT_EQ(hash(), before);
  folder.write("fib/cpu/gemm.h", "three");
  const std::string changed = hash();
  EXPECT_NE(changed, before);
  folder.write("fib/cpu/gemm.h", "two");
  EXPECT_EQ(hash(), before);
  folder.write("fib/cpu/more.h", "");
  EXPECT_NE(hash(), before);
  EXPECT_FALSE(hash_folder(folder.path() / "nowhere"));
}

}  // namespace
}  // namespace fib
