#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <functional>
#include <thread>
#include <vector>

#include "signatures/base/file.h"
#include "tests/scratch_folder.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder))
    names.push_back(entry.path().filename().string());
  return names;
}

// Runs `body` in a forked child, because limits and mounts stick to a process. The child's exit
// status is body's return value.
int in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(ReadFile, ReadsAllBytes) {
  ScratchFolder folder;
  const std::string content = std::string("a\0b\n", 4) + std::string(100'000, 'x');
  std::ofstream(folder / "f", std::ios::binary) << content;
  EXPECT_EQ(read_file(folder / "f").value(), content);
  std::ofstream(folder / "empty");
  EXPECT_EQ(read_file(folder / "empty").value(), "");
}

TEST(ReadFile, ReadsFilesThatHideTheirSize) {
  EXPECT_NE(read_file("/proc/self/status").value().find("Pid:"), std::string::npos);
}

TEST(ReadFile, AMissingFileIsNamed) {
  const auto result = read_file("/nowhere/at/all.json");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(result.error().where, "/nowhere/at/all.json");
}

TEST(ReadFile, AFolderIsNotAFile) {
  ScratchFolder folder;
  const auto result = read_file(folder.path());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kIo);
  EXPECT_EQ(result.error().to_string(), folder.path().string() + ": cannot read: Is a directory");
}

TEST(WriteFileAtomically, WritesAndReplacesAndLeavesNothingElse) {
  ScratchFolder folder;
  ASSERT_TRUE(write_file_atomically(folder / "f", "one"));
  ASSERT_TRUE(write_file_atomically(folder / "f", "two"));
  EXPECT_EQ(read_file(folder / "f").value(), "two");
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"f"});
}

TEST(WriteFileAtomically, JoinsPieces) {
  ScratchFolder folder;
  const std::vector<std::string_view> pieces = {"ab", "", "c"};
  ASSERT_TRUE(write_file_atomically(folder / "f", pieces));
  EXPECT_EQ(read_file(folder / "f").value(), "abc");
}

TEST(WriteFileAtomically, WorksInTheCurrentFolder) {
  ScratchFolder folder;
  EXPECT_EQ(in_child([&] {
              fs::current_path(folder.path());
              return write_file_atomically("plain", "x") ? 0 : 1;
            }),
            0);
  EXPECT_EQ(read_file(folder / "plain").value(), "x");
}

TEST(WriteFileAtomically, IgnoresLeftoversOfKilledWriters) {
  ScratchFolder folder;
  std::ofstream(folder / (".f." + std::to_string(::gettid()) + "-0.tmp")) << "left over";
  ASSERT_TRUE(write_file_atomically(folder / "f", "new"));
  EXPECT_EQ(read_file(folder / "f").value(), "new");
}

TEST(WriteFileAtomically, AReaderNeverSeesAPart) {
  ScratchFolder folder;
  const std::string a(50'000, 'a'), b(70'000, 'b');
  ASSERT_TRUE(write_file_atomically(folder / "f", a));
  std::jthread writers[2];
  for (const std::string* content : {&a, &b})
    writers[content == &b] = std::jthread([&folder, content] {
      for (int i = 0; i < 20; ++i) EXPECT_TRUE(write_file_atomically(folder / "f", *content));
    });
  for (int i = 0; i < 200; ++i) {
    const std::string seen = read_file(folder / "f").value();
    ASSERT_TRUE(seen == a || seen == b) << seen.size();
  }
}

TEST(WriteFileAtomically, AMissingFolderIsAnErrorThatNamesTheFile) {
  ScratchFolder folder;
  const auto result = write_file_atomically(folder / "no/such/f", "x");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kIo);
  EXPECT_EQ(result.error().where, (folder / "no/such/f").string());
}

TEST(WriteFileAtomically, AFileTooLargeForItsLimitLeavesTheOldOne) {
  ScratchFolder folder;
  ASSERT_TRUE(write_file_atomically(folder / "f", "old"));
  std::ofstream message(folder / "message");
  const int status = in_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const auto result = write_file_atomically(folder / "f", std::string(10'000, 'x'));
    if (result) return 1;
    message << result.error().to_string() << std::flush;
    return result.error().code == ErrorCode::kIo ? 0 : 2;
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(
      read_file(folder / "message").value(),
      (folder / "f").string() +
          ": cannot write: File too large (raise the limit on the size of files (ulimit -f))");
  EXPECT_EQ(read_file(folder / "f").value(), "old");
  EXPECT_EQ(names_in(folder.path()).size(), 2u) << "the temporary file is gone";
}

TEST(WriteFileAtomically, AFullDiskLeavesTheOldFile) {
  ScratchFolder folder;
  std::ofstream message(folder / "message");
  fs::create_directory(folder / "disk");
  constexpr int kNoMount = 77;
  const int status = in_child([&] {
    // In a mount namespace of its own, so that nothing stays behind.
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", (folder / "disk").c_str(), "tmpfs", 0, "size=64k") != 0)
      return kNoMount;
    const fs::path file = folder / "disk/f";
    if (!write_file_atomically(file, "old")) return 1;
    const auto result = write_file_atomically(file, std::string(200'000, 'x'));
    if (result) return 2;
    message << result.error().to_string() << std::flush;
    if (result.error().code != ErrorCode::kIo) return 3;
    if (read_file(file).value() != "old") return 4;
    return names_in(folder / "disk").size() == 1 ? 0 : 5;
  });
  if (status == kNoMount) GTEST_SKIP() << "this user cannot mount a small disk to fill";
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read_file(folder / "message").value(),
            (folder / "disk/f").string() +
                ": cannot write: No space left on device (free some space on its file system)");
}

TEST(SafeRelativePath, TellsSafeFromUnsafe) {
  for (const char* safe : {"a", "a/b.cu", "./blob/x", "a/..b", "...", "a b/c"})
    EXPECT_TRUE(is_safe_relative_path(safe)) << safe;
  for (const char* unsafe : {"", "/", "/a", "a/", "a//b", "..", "../a", "a/..", "a/../b", "a\\b"})
    EXPECT_FALSE(is_safe_relative_path(unsafe)) << unsafe;
  EXPECT_FALSE(is_safe_relative_path(std::string_view("a\0b", 3)));
}

}  // namespace
}  // namespace fib
