// Files of traces, one JSON document a line.

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "signatures/base/file.h"
#include "signatures/trace.h"

namespace fib {
namespace {

// Larger than any trace file there is; a small .gz can't blow up to more.
constexpr size_t kMaxUnpackedBytes = size_t{4} << 30;

Result<std::string> read_gzip(const std::filesystem::path& file) {
  struct Close {
    void operator()(gzFile_s* open) const { gzclose(open); }
  };
  const std::unique_ptr<gzFile_s, Close> open(gzopen(file.c_str(), "rb"));
  if (!open) return fail(ErrorCode::kNotFound, std::strerror(errno), file.string());
  std::string text;
  std::string chunk(1 << 20, '\0');
  while (true) {
    const int count = gzread(open.get(), chunk.data(), static_cast<unsigned>(chunk.size()));
    int status = Z_OK;
    const char* const message = gzerror(open.get(), &status);
    // A file cut short ends without an error from gzread, but with Z_BUF_ERROR.
    if (count < 0 || status != Z_OK) {
      return fail(ErrorCode::kInvalidInput, fmt::format("not a whole gzip file: {}", message),
                  file.string(), "fetch it again");
    }
    if (count == 0) return text;
    text.append(chunk.data(), static_cast<size_t>(count));
    if (text.size() > kMaxUnpackedBytes) {
      return fail(ErrorCode::kResourceExhausted, "unpacks to more than 4 GiB", file.string(),
                  "split it");
    }
  }
}

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
  const std::string text =
      FIB_TRY(file.extension() == ".gz" ? read_gzip(file) : read_file(file));
  std::vector<Trace> traces;
  size_t line_number = 0;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    ++line_number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = fmt::format("{}:{}", file.string(), line_number);
    const Json json = FIB_TRY(parse_json(line, where));
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
