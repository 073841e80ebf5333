#include "agents/call_folder.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "signatures/base/file.h"
#include "tests/scratch_folder.h"

namespace fib::agents {
namespace {

TEST(CallFolder, IsEmptyAndGoneWithItsOwner) {
  const ScratchFolder scratch;
  std::optional<CallFolder> folder = CallFolder::make(scratch / "made/below").value();
  const std::filesystem::path path = folder->path();
  EXPECT_TRUE(std::filesystem::is_empty(path));
  ASSERT_TRUE(write_file_atomically(path / "file", "x"));
  const CallFolder moved = *std::move(folder);
  folder.reset();
  EXPECT_TRUE(std::filesystem::exists(path / "file")) << "it has another owner";
}

TEST(CallFolder, OnesOfTheDeadAreSweptAway) {
  const ScratchFolder scratch;
  const pid_t child = ::fork();
  if (child == 0) {
    const auto folder = CallFolder::make(scratch.path());
    ::_exit(folder && write_file_atomically(folder->path() / "big", "x") ? 9 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(WEXITSTATUS(status), 9);
  std::filesystem::create_directory(scratch / "somebody-elses");
  ASSERT_TRUE(write_file_atomically(scratch / "call-file", "x"));
  std::filesystem::create_directory_symlink(scratch / "somebody-elses", scratch / "call-link");

  const CallFolder living = CallFolder::make(scratch.path()).value();
  const CallFolder other = CallFolder::make(scratch.path()).value();
  EXPECT_TRUE(std::filesystem::exists(living.path())) << "its process lives";
  size_t folders = 0;
  for (const auto& entry : std::filesystem::directory_iterator(scratch.path())) {
    folders += entry.is_directory() && !entry.is_symlink() ? 1 : 0;
  }
  EXPECT_EQ(folders, 3u) << "the two of now, and somebody else's";
  EXPECT_TRUE(std::filesystem::exists(scratch / "call-file"));
  EXPECT_TRUE(std::filesystem::exists(scratch / "call-link"));
}

TEST(CallFolder, SaysWhereNoneCanBeMade) {
  const ScratchFolder scratch;
  ASSERT_TRUE(write_file_atomically(scratch / "file", "x"));
  const auto folder = CallFolder::make(scratch / "file/below");
  ASSERT_FALSE(folder);
  EXPECT_EQ(folder.error().where, (scratch / "file/below").string());
}

}  // namespace
}  // namespace fib::agents
