// The worker executable of the tests: what `fib` does with `internal-worker`, and one kind more,
// "rehearsal", that answers, dies, hangs and babbles on demand.

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "runners/worker/process.h"
#include "runners/worker_entry.h"

namespace fib {
namespace {

Result<Json> rehearse(Message& request) {
  const std::string act = request.body.value("act", "");
  if (act == "echo") return request.body;
  if (act == "pid") return Json{{"pid", ::getpid()}};
  if (act == "fail")
    return fail(ErrorCode::kNotFound, "no such prop", "stage: /left", "look right");
  if (act == "add-one") {
    auto memory = FIB_TRY(SharedMemory::adopt(request.fds.at(0), request.body["bytes"]));
    for (std::byte& value : memory.bytes()) value = std::byte(int(value) + 1);
    return Json{{"done", true}};
  }
  if (act == "truncate") return Json{{"errno", ::ftruncate(request.fds.at(0), 0) == 0 ? 0 : errno}};
  if (act == "open-files") {
    Json open = Json::array();
    for (int fd = 3; fd < 256; ++fd) {
      if (::lseek(fd, 0, SEEK_CUR) >= 0) open.push_back(fd);
    }
    return open;
  }
  if (act == "environment") {
    Json names = Json::array();
    for (char** entry = environ; *entry != nullptr; ++entry) names.push_back(*entry);
    return names;
  }
  if (act == "pid") return Json{{"pid", ::getpid()}};
  if (act == "fork") {  // a child that outlives its parent and holds stderr open
    const pid_t child = ::fork();
    if (child == 0) {
      ::pause();
      ::_exit(0);
    }
    return Json{{"pid", child}};
  }
  if (act == "allocate") {
    return Json{{"allocated", std::malloc(request.body["bytes"]) != nullptr}};
  }
  if (act == "babble") {
    const std::string line(1023, 'x');
    for (int i = 0; i < 64 << 10; ++i) std::fprintf(stderr, "%s\n", line.c_str());
    std::fprintf(stderr, "last words\n");
    std::abort();
  }
  if (act == "garble") return Json{{"text", "\xff\xfe"}};
  if (act == "crash") ::raise(SIGSEGV);
  if (act == "exit") ::_exit(7);
  while (act == "hang") ::pause();
  return fail(ErrorCode::kInvalidInput, "unknown act", act);
}

}  // namespace
}  // namespace fib

int main(int argc, char** argv) {
  if (argc < 3 || std::string_view(argv[1]) != "internal-worker") return 2;
  if (std::string_view(argv[2]) == "rehearsal") {
    return fib::serve_worker(fib::Channel(std::atoi(argv[4])), fib::rehearse);
  }
  return fib::worker_entry(argc - 2, argv + 2);
}
