// Files of traces, one JSON document a line.

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "signatures/base/text_file.h"
#include "signatures/trace.h"

namespace fib {
namespace {

// An open file descriptor.
class FileHandle {
 public:
  explicit FileHandle(int fd) : fd_(fd) {}
  FileHandle(const FileHandle&) = delete;
  FileHandle& operator=(const FileHandle&) = delete;
  ~FileHandle() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = write(fd, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return true;
}

}  // namespace

Result<std::vector<Trace>> read_traces(const std::filesystem::path& file, Strictness strictness) {
  const std::string text = FIB_TRY(read_text_file(file));
  std::vector<Trace> traces;
  for (LineReader lines(text); lines.next();) {
    const std::string where = fmt::format("{}:{}", file.string(), lines.number());
    const Json json = FIB_TRY(parse_json(lines.line(), where));
    traces.push_back(FIB_TRY(trace_from_json(json, where, strictness)));
  }
  return traces;
}

Result<void> append_traces(const std::filesystem::path& file, const std::vector<Trace>& traces) {
  const auto io_error = [&](int code) {
    return fail(ErrorCode::kIo, fmt::format("can't be written: {}", std::strerror(code)),
                file.string());
  };
  if (file.has_parent_path()) {
    std::error_code code;
    std::filesystem::create_directories(file.parent_path(), code);
    if (code) return io_error(code.value());
  }
  const FileHandle open_file(open(file.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  struct stat status {};
  if (open_file.get() < 0 || fstat(open_file.get(), &status) != 0) return io_error(errno);
  std::string text;
  if (status.st_size > 0) {
    char last = '\n';
    if (pread(open_file.get(), &last, 1, status.st_size - 1) != 1) return io_error(errno);
    if (last != '\n') text = "\n";
  }
  for (const Trace& trace : traces) text += dump_json(trace_to_json(trace)) + "\n";
  if (!write_all(open_file.get(), text) || fsync(open_file.get()) != 0) {
    const int code = errno;
    // Half a line would make the file unreadable; take it back.
    if (ftruncate(open_file.get(), status.st_size) != 0) {
      return fail(ErrorCode::kIo, "written in part and can't be cut back", file.string(),
                  "remove its last line by hand");
    }
    return io_error(code);
  }
  return {};
}

}  // namespace fib
