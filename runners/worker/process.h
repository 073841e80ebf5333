#pragma once

// Worker processes: the fib binary run as `fib internal-worker KIND`, a socketpair for
// length-prefixed messages, memfds for bulk data, deadlines on everything, stderr captured
// (bounded). A worker that dies or misses a deadline is killed with its whole process group.

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runners/worker/child_process.h"
#include "runners/worker/file_descriptor.h"
#include "signatures/base/json.h"
#include "signatures/base/result.h"

namespace fib {

// A memfd mapped read-write; move-only; the descriptor can be sent to a worker. Its size is sealed:
// a worker that could shrink it would crash its parent.
class SharedMemory {
 public:
  static Result<SharedMemory> create(size_t bytes, std::string_view name);
  // Takes ownership of fd; refuses memory that is smaller, or that isn't sealed.
  static Result<SharedMemory> adopt(int fd, size_t bytes);
  SharedMemory(SharedMemory&&) noexcept;
  SharedMemory& operator=(SharedMemory&&) noexcept;
  ~SharedMemory();
  std::span<std::byte> bytes() const;
  int fd() const;

 private:
  SharedMemory() = default;
  static Result<SharedMemory> map(FileDescriptor fd, size_t bytes);
  FileDescriptor fd_;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

struct Message {
  Json body;
  std::vector<int> fds;  // received: owned by the receiver
};

// One end of the socketpair. Messages are a 4-byte little-endian length and compact JSON, file
// descriptors travel as SCM_RIGHTS with the first byte.
class Channel {
 public:
  explicit Channel(int fd);  // takes ownership
  Channel(Channel&&) noexcept;
  Channel& operator=(Channel&&) noexcept;
  ~Channel();
  // Both: kTimeout past the deadline, kWorkerLost when the other end is gone, kInvalidInput for a
  // message of more than kMaxMessageBytes or, received, one that isn't JSON.
  Result<void> send(const Json& body, std::span<const int> fds = {},
                    Deadline deadline = Deadline::max());
  // A message of which only a part came before the deadline is continued by the next receive.
  Result<Message> receive(Deadline deadline);
  int fd() const { return fd_.get(); }

  static constexpr size_t kMaxMessageBytes = 64 << 20;

 private:
  Result<void> read_more(size_t bytes, Deadline deadline);
  FileDescriptor fd_;
  std::string pending_;  // of the message that is being received
  std::vector<FileDescriptor> pending_fds_;
};

struct WorkerOptions {
  std::filesystem::path executable;  // the fib binary
  std::string kind;                  // "cpu", "plan", "cuda", "nvrtc"
  std::vector<std::string> arguments;
  std::vector<std::pair<std::string, std::string>> environment;  // added to a minimal one
  size_t address_space_bytes = 0;                                // RLIMIT_AS, 0: unlimited
  size_t max_stderr_bytes = 64 << 10;
};

class WorkerProcess {
 public:
  static Result<std::unique_ptr<WorkerProcess>> start(const WorkerOptions& options);
  ~WorkerProcess();  // kills the group

  Channel& channel();
  // send + receive. An {"error": ...} that the worker answers is returned as that Error. A dead
  // worker's error (kWorkerLost) carries how it died and its last words on stderr. A worker that
  // misses the deadline is killed (kTimeout).
  Result<Message> call(const Json& body, std::span<const int> fds, Deadline deadline);
  bool alive();
  void kill();
  void abandon();             // kills it without waiting until it is gone
  WorkerExit wait();          // after kill or exit
  std::string stderr_tail();  // what it printed so far, bounded

 private:
  WorkerProcess();
  struct State;
  std::unique_ptr<State> state_;
};

// A worker's main loop: `handler` answers each message; an Error is sent back as
// {"error": {...}}. Returns when the parent hangs up.
using WorkerHandler = std::function<Result<Json>(Message& request)>;
int serve_worker(Channel channel, const WorkerHandler& handler);

}  // namespace fib
