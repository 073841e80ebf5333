#include "signatures/base/text_file.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "signatures/base/file.h"

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

}  // namespace

Result<std::string> read_text_file(const std::filesystem::path& file) {
  return file.extension() == ".gz" ? read_gzip(file) : read_file(file);
}

bool LineReader::next() {
  while (!rest_.empty()) {
    const size_t end = std::min(rest_.find('\n'), rest_.size());
    line_ = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    ++number_;
    if (line_.ends_with('\r')) line_.remove_suffix(1);
    if (line_.find_first_not_of(" \t") != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace fib
