#include "runners/worker/process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <array>
#include <fstream>
#include <thread>

namespace fib {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

WorkerOptions rehearsal() { return {.executable = FIB_TEST_WORKER, .kind = "rehearsal"}; }

std::unique_ptr<WorkerProcess> start(const WorkerOptions& options) {
  auto worker = WorkerProcess::start(options);
  EXPECT_TRUE(worker) << worker.error().to_string();
  return std::move(*worker);
}

Result<Message> act(WorkerProcess& worker, const char* what, double seconds = 20.0) {
  return worker.call(Json{{"act", what}}, {}, deadline_in(seconds));
}

// A process that has ended, or is a zombie, or was never there.
bool is_gone(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string stat;
  std::getline(file, stat);
  return stat.empty() || stat.find(") Z ") != std::string::npos;
}

bool goes(pid_t pid) {
  for (int i = 0; i < 500 && !is_gone(pid); ++i) std::this_thread::sleep_for(milliseconds(10));
  return is_gone(pid);
}

std::pair<Channel, Channel> channel_pair() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
  return {Channel(ends[0]), Channel(ends[1])};
}

TEST(WorkerProcess, AnswersRequestsOneAfterAnother) {
  const auto worker = start(rehearsal());
  for (int i = 0; i < 3; ++i) {
    auto answer = worker->call(Json{{"act", "echo"}, {"number", i}}, {}, deadline_in(20.0));
    ASSERT_TRUE(answer) << answer.error().to_string();
    EXPECT_EQ(answer->body["number"], i);
  }
  EXPECT_TRUE(worker->alive());
}

TEST(WorkerProcess, ErrorsTravelWhole) {
  const auto worker = start(rehearsal());
  const auto answer = act(*worker, "fail");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(answer.error().to_string(), "stage: /left: no such prop (look right)");
  EXPECT_TRUE(worker->alive());
}

TEST(WorkerProcess, SharesMemoryThroughDescriptors) {
  auto memory = SharedMemory::create(5000, "test");
  ASSERT_TRUE(memory) << memory.error().to_string();
  memory->bytes()[4999] = std::byte{41};
  const auto worker = start(rehearsal());
  const std::array fds = {memory->fd()};
  const auto answer =
      worker->call(Json{{"act", "add-one"}, {"bytes", 5000}}, fds, deadline_in(20.0));
  ASSERT_TRUE(answer) << answer.error().to_string();
  EXPECT_EQ(memory->bytes()[4999], std::byte{42});
}

TEST(WorkerProcess, CannotPullSharedMemoryAway) {
  auto memory = SharedMemory::create(5000, "test");
  ASSERT_TRUE(memory);
  const auto worker = start(rehearsal());
  const std::array fds = {memory->fd()};
  const auto answer = worker->call(Json{{"act", "truncate"}}, fds, deadline_in(20.0));
  ASSERT_TRUE(answer) << answer.error().to_string();
  EXPECT_EQ(answer->body["errno"], EPERM);
}

TEST(WorkerProcess, CrashInACallNamesTheSignal) {
  const auto worker = start(rehearsal());
  const auto answer = act(*worker, "crash");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kWorkerLost);
  EXPECT_THAT(answer.error().to_string(),
              StartsWith("rehearsal worker: killed by signal 11 (segmentation fault)"));
  EXPECT_FALSE(worker->alive());
  EXPECT_EQ(worker->wait().signal, SIGSEGV);

  const auto again = act(*worker, "echo");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kWorkerLost);
}

TEST(WorkerProcess, ExitInACallNamesTheCode) {
  const auto worker = start(rehearsal());
  const auto answer = act(*worker, "exit");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().to_string(), "rehearsal worker: exited with code 7");
}

TEST(WorkerProcess, HangPastTheDeadlineIsKilled) {
  const auto worker = start(rehearsal());
  const auto before = std::chrono::steady_clock::now();
  const auto answer = act(*worker, "hang", 0.2);
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(10));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kTimeout);
  EXPECT_THAT(answer.error().to_string(), StartsWith("rehearsal worker: no answer before"));
  EXPECT_EQ(worker->wait().signal, SIGKILL);
}

TEST(WorkerProcess, ARequestThatNobodyReadsMissesItsDeadline) {
  const auto worker = start(rehearsal());
  ASSERT_TRUE(worker->channel().send(Json{{"act", "hang"}}));
  const std::string large(8 << 20, 'x');
  const auto answer = worker->call(Json{{"act", large}}, {}, deadline_in(0.2));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kTimeout);
}

TEST(WorkerProcess, EndlessOutputIsBoundedAndItsEndIsKept) {
  WorkerOptions options = rehearsal();
  options.max_stderr_bytes = 4096;
  const auto worker = start(options);
  const auto answer = act(*worker, "babble");  // 64 MiB, far more than a pipe holds
  ASSERT_FALSE(answer);
  EXPECT_THAT(answer.error().message,
              AllOf(HasSubstr("signal 6"), HasSubstr("bytes left out"), HasSubstr("last words")));
  EXPECT_LT(worker->stderr_tail().size(), 5000u);
}

TEST(WorkerProcess, InvalidUtf8InAnAnswerIsReplaced) {
  const auto worker = start(rehearsal());
  const auto answer = act(*worker, "garble");
  ASSERT_TRUE(answer) << answer.error().to_string();
  EXPECT_EQ(answer->body["text"], "\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(WorkerProcess, InheritsNoFilesAndNoEnvironment) {
  const int secret = ::open("/etc/passwd", O_RDONLY);  // without O_CLOEXEC
  ASSERT_GE(secret, 3);
  WorkerOptions options = rehearsal();
  options.environment = {{"FIB_PROP", "skull"}};
  const auto worker = start(options);
  const auto files = act(*worker, "open-files");
  ASSERT_TRUE(files) << files.error().to_string();
  EXPECT_EQ(files->body, Json::array());
  const auto environment = act(*worker, "environment");
  ASSERT_TRUE(environment);
  EXPECT_EQ(environment->body.size(), 3u) << environment->body;
  ::close(secret);
}

TEST(WorkerProcess, ItsChildrenDieWithIt) {
  for (const char* end : {"exit", "hang"}) {
    const auto worker = start(rehearsal());
    const auto forked = act(*worker, "fork");
    ASSERT_TRUE(forked) << forked.error().to_string();
    EXPECT_FALSE(act(*worker, end, 0.2));
    EXPECT_TRUE(goes(forked->body["pid"])) << end;
  }
}

TEST(WorkerProcess, AbandonedItIsKilledAndReaped) {
  auto worker = start(rehearsal());
  const auto pid = act(*worker, "pid");
  ASSERT_TRUE(pid) << pid.error().to_string();
  worker->abandon();
  worker.reset();
  const auto is_reaped = [&] { return ::kill(pid->body["pid"], 0) != 0; };
  for (int i = 0; i < 500 && !is_reaped(); ++i) std::this_thread::sleep_for(milliseconds(10));
  EXPECT_TRUE(is_reaped());
}

TEST(WorkerProcess, AddressSpaceIsLimited) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer reserves more address space than any limit";
#endif
  WorkerOptions options = rehearsal();
  options.address_space_bytes = 1 << 30;
  const auto worker = start(options);
  const Json request = {{"act", "allocate"}, {"bytes", size_t{2} << 30}};
  const auto answer = worker->call(request, {}, deadline_in(20.0));
  ASSERT_TRUE(answer) << answer.error().to_string();
  EXPECT_EQ(answer->body["allocated"], false);
}

// A worker is started from a thread that ends at once, and must live on; when the whole process is
// killed, it must die although it never looks at its channel.
TEST(WorkerProcess, LivesAsLongAsItsParent) {
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  const pid_t parent = ::fork();
  if (parent == 0) {
    std::unique_ptr<WorkerProcess> worker;
    std::thread([&worker] { worker = start(rehearsal()); }).join();
    const auto answer = act(*worker, "pid");
    const pid_t pid = answer ? answer->body["pid"].get<pid_t>() : 0;
    (void)worker->channel().send(Json{{"act", "hang"}});
    if (::write(pipe[1], &pid, sizeof pid) < 0) ::_exit(1);
    ::pause();
  }
  pid_t worker = 0;
  ASSERT_EQ(::read(pipe[0], &worker, sizeof worker), static_cast<ssize_t>(sizeof worker));
  ASSERT_NE(worker, 0) << "the worker didn't outlive the thread that started it";
  EXPECT_FALSE(is_gone(worker));
  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);
  EXPECT_TRUE(goes(worker));
  ::close(pipe[0]);
  ::close(pipe[1]);
}

TEST(WorkerProcess, AMissingExecutableIsNamed) {
  const auto worker = WorkerProcess::start({.executable = "/no/such/fib", .kind = "cpu"});
  ASSERT_FALSE(worker);
  EXPECT_EQ(worker.error().code, ErrorCode::kEnvironment);
  EXPECT_THAT(worker.error().to_string(),
              AllOf(StartsWith("/no/such/fib: can't be started"), HasSubstr("No such file")));
}

TEST(WorkerProcess, AnUnknownKindIsNamed) {
  const auto worker = start({.executable = FIB_TEST_WORKER, .kind = "juggler"});
  const auto answer = act(*worker, "echo");
  ASSERT_FALSE(answer);
  EXPECT_THAT(answer.error().to_string(), AllOf(StartsWith("juggler worker: exited with code 2"),
                                                HasSubstr("unknown kind 'juggler'")));
}

TEST(Channel, ContinuesAMessageAfterADeadline) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
  Channel channel(ends[0]);
  const std::string message("\x02\0\0\0[]", 6);
  ASSERT_EQ(::write(ends[1], message.data(), 5), 5);
  const auto early = channel.receive(deadline_in(0.02));
  ASSERT_FALSE(early);
  EXPECT_EQ(early.error().code, ErrorCode::kTimeout);
  ASSERT_EQ(::write(ends[1], message.data() + 5, 1), 1);
  const auto whole = channel.receive(deadline_in(10.0));
  ASSERT_TRUE(whole) << whole.error().to_string();
  EXPECT_EQ(whole->body, Json::array());
  ::close(ends[1]);
}

TEST(Channel, RefusesWhatIsNotAMessage) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
  Channel channel(ends[0]);
  ASSERT_EQ(::write(ends[1], "\x03\0\0\0{]}", 7), 7);
  const auto garbage = channel.receive(deadline_in(10.0));
  ASSERT_FALSE(garbage);
  EXPECT_EQ(garbage.error().code, ErrorCode::kInvalidInput);
  EXPECT_THAT(garbage.error().where, StartsWith("worker channel"));

  ASSERT_EQ(::write(ends[1], "\xff\xff\xff\xff", 4), 4);
  const auto giant = channel.receive(deadline_in(10.0));
  ASSERT_FALSE(giant);
  EXPECT_THAT(giant.error().message, HasSubstr("4294967295 bytes; at most 67108864"));
  ::close(ends[1]);
}

TEST(Channel, DescriptorsBelongToTheirMessage) {
  auto [left, right] = channel_pair();
  auto memory = SharedMemory::create(64, "test");
  ASSERT_TRUE(memory);
  const std::array two = {memory->fd(), memory->fd()};
  ASSERT_TRUE(left.send(Json(1)));
  ASSERT_TRUE(left.send(Json(2), two));
  ASSERT_TRUE(left.send(Json(3)));
  for (const size_t expected : {0u, 2u, 0u}) {
    auto message = right.receive(deadline_in(10.0));
    ASSERT_TRUE(message) << message.error().to_string();
    EXPECT_EQ(message->fds.size(), expected);
    for (const int fd : message->fds) {
      EXPECT_TRUE(::fcntl(fd, F_GETFD) & FD_CLOEXEC);
      EXPECT_TRUE(SharedMemory::adopt(fd, 64));
    }
  }
}

TEST(Channel, ManyDescriptorsAreRefused) {
  auto [left, right] = channel_pair();
  const std::vector<int> many(1000, 0);
  const auto sent = left.send(Json(1), many);
  ASSERT_FALSE(sent);
  EXPECT_THAT(sent.error().message, HasSubstr("1000 descriptors"));
}

TEST(SharedMemory, RefusesWhatIsTooSmallOrUnsealed) {
  auto memory = SharedMemory::create(64, "test");
  ASSERT_TRUE(memory);
  const auto small = SharedMemory::adopt(::dup(memory->fd()), 65);
  ASSERT_FALSE(small);
  EXPECT_THAT(small.error().message, HasSubstr("64 bytes, where 65 were promised"));
  const auto file = SharedMemory::adopt(::open(FIB_TEST_WORKER, O_RDONLY), 64);
  ASSERT_FALSE(file);
  EXPECT_THAT(file.error().message, HasSubstr("isn't sealed"));
  const auto nothing = SharedMemory::adopt(-1, 64);
  ASSERT_FALSE(nothing);
  EXPECT_THAT(nothing.error().message, HasSubstr("descriptor -1"));
}

TEST(SharedMemory, MayBeEmpty) {
  auto memory = SharedMemory::create(0, "test");
  ASSERT_TRUE(memory) << memory.error().to_string();
  EXPECT_TRUE(memory->bytes().empty());
}

}  // namespace
}  // namespace fib
