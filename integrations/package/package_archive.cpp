#include "integrations/package/package_archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "signatures/base/file.h"
#include "signatures/base/hash.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxUnpackedBytes = size_t{16} << 30;  // no package is, an archive bomb may be

struct ReaderDeleter {
  void operator()(archive* handle) const { ::archive_read_free(handle); }
};
using Reader = std::unique_ptr<archive, ReaderDeleter>;

Failure broken(const fs::path& file, std::string what) {
  return fail(ErrorCode::kInvalidInput, std::move(what), file.string(),
              "fetch or export the package anew");
}

Failure broken(const fs::path& file, archive* reader) {
  const char* reason = ::archive_error_string(reader);
  return broken(
      file, fmt::format("can't be unpacked: {}", reason == nullptr ? "unknown reason" : reason));
}

Result<std::string> content_of(archive* reader, const fs::path& file, size_t* left) {
  std::string content;
  std::vector<char> piece(size_t{1} << 16);
  for (;;) {
    const la_ssize_t bytes = ::archive_read_data(reader, piece.data(), piece.size());
    if (bytes < 0) return broken(file, reader);
    if (bytes == 0) return content;
    if (static_cast<size_t>(bytes) > *left) return broken(file, "is far too large for a package");
    *left -= static_cast<size_t>(bytes);
    content.append(piece.data(), static_cast<size_t>(bytes));
  }
}

// Into `folder`; the name of the one folder that everything lies in.
Result<std::string> unpack(const std::string& bytes, const fs::path& file, const fs::path& folder) {
  const Reader reader(::archive_read_new());
  ::archive_read_support_filter_zstd(reader.get());
  ::archive_read_support_format_tar(reader.get());
  if (::archive_read_open_memory(reader.get(), bytes.data(), bytes.size()) != ARCHIVE_OK) {
    return broken(file, reader.get());
  }
  size_t left = kMaxUnpackedBytes;
  std::string root;
  archive_entry* entry = nullptr;
  int status = ARCHIVE_OK;
  while ((status = ::archive_read_next_header(reader.get(), &entry)) == ARCHIVE_OK) {
    std::string name = ::archive_entry_pathname(entry);
    while (name.ends_with('/')) name.pop_back();
    if (!is_safe_relative_path(name) || name.starts_with('.')) {
      return broken(file, fmt::format("holds a file named '{}'", name));
    }
    const std::string first = name.substr(0, name.find('/'));
    if (root.empty()) root = first;
    if (first != root) {
      return broken(file,
                    fmt::format("holds '{}' beside '{}'; one folder is expected", first, root));
    }
    const auto type = ::archive_entry_filetype(entry);
    if (type != AE_IFREG && type != AE_IFDIR) {
      return broken(file, fmt::format("'{}' is neither a file nor a folder", name));
    }
    std::error_code failed;
    fs::create_directories(type == AE_IFDIR ? folder / name : (folder / name).parent_path(),
                           failed);
    if (failed) return fail(ErrorCode::kIo, failed.message(), (folder / name).string());
    if (type == AE_IFDIR) continue;
    const std::string content = FIB_TRY(content_of(reader.get(), file, &left));
    FIB_CHECK(write_file_atomically(folder / name, content));
  }
  if (status != ARCHIVE_EOF) return broken(file, reader.get());
  if (root.empty()) return broken(file, "holds nothing");
  return root;
}

std::optional<fs::path> only_folder(const fs::path& folder) {
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(folder, failed)) return entry.path();
  return std::nullopt;
}

}  // namespace

Result<fs::path> unpack_package(const fs::path& file, const fs::path& cache_folder) {
  const std::string bytes = FIB_TRY(read_file(file));
  const fs::path target = cache_folder / "packages" / sha256_hex(bytes);
  if (const auto known = only_folder(target)) return *known;

  std::error_code failed;
  fs::create_directories(target.parent_path(), failed);
  if (failed) return fail(ErrorCode::kIo, failed.message(), target.parent_path().string());
  std::string staging = target.string() + ".new-XXXXXX";
  if (::mkdtemp(staging.data()) == nullptr) {
    return fail(ErrorCode::kIo, "no folder can be made here", target.parent_path().string());
  }
  const auto root = unpack(bytes, file, staging);
  if (root) fs::rename(staging, target, failed);
  // Someone else who unpacked the same archive was first, or it failed.
  if (!root || failed) fs::remove_all(staging, failed);
  if (!root) return fail(root.error());
  if (!only_folder(target))
    return fail(ErrorCode::kIo, "can't be moved into place", target.string());
  return target / *root;
}

}  // namespace fib
