#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "integrations/package/export/build_package.h"
#include "signatures/base/file.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

struct ArchiveDeleter {
  void operator()(archive* handle) const { ::archive_write_free(handle); }
};
struct EntryDeleter {
  void operator()(archive_entry* entry) const { ::archive_entry_free(entry); }
};
using Writer = std::unique_ptr<archive, ArchiveDeleter>;
using Entry = std::unique_ptr<archive_entry, EntryDeleter>;

la_ssize_t append(archive*, void* text, const void* data, size_t bytes) {
  static_cast<std::string*>(text)->append(static_cast<const char*>(data), bytes);
  return static_cast<la_ssize_t>(bytes);
}

Failure error_of(archive* writer, const fs::path& file) {
  const char* message = ::archive_error_string(writer);
  return fail(ErrorCode::kIo, message == nullptr ? "can't be written" : message, file.string());
}

// Without owner and time: the same package is the same archive.
Result<void> add(archive* writer, const fs::path& file, const std::string& name) {
  const Entry entry(::archive_entry_new());
  const bool is_folder = fs::is_directory(file);
  const std::string content = is_folder ? "" : FIB_TRY(read_file(file));
  ::archive_entry_set_pathname(entry.get(), name.c_str());
  ::archive_entry_set_filetype(entry.get(), is_folder ? AE_IFDIR : AE_IFREG);
  ::archive_entry_set_perm(entry.get(), is_folder ? 0755 : 0644);
  ::archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.size()));
  ::archive_entry_set_mtime(entry.get(), 0, 0);
  if (::archive_write_header(writer, entry.get()) != ARCHIVE_OK ||
      ::archive_write_data(writer, content.data(), content.size()) !=
          static_cast<la_ssize_t>(content.size())) {
    return error_of(writer, file);
  }
  return {};
}

}  // namespace

Result<void> archive_package(const fs::path& folder, const fs::path& file) {
  std::error_code failed;
  const fs::path package = fs::canonical(folder, failed);
  if (failed || !fs::exists(package / "SHA256SUMS", failed)) {
    return fail(ErrorCode::kNotFound, "is no kernel package", folder.string(),
                "name a folder that fib export wrote");
  }
  std::vector<fs::path> paths;
  for (fs::recursive_directory_iterator it(package, failed), end; !failed && it != end;
       it.increment(failed)) {
    paths.push_back(it->path());
  }
  if (failed) return fail(ErrorCode::kIo, failed.message(), package.string());
  std::sort(paths.begin(), paths.end());

  std::string bytes;  // packages are a few MiB, and the file is to appear at once
  const Writer writer(::archive_write_new());
  if (::archive_write_add_filter_zstd(writer.get()) != ARCHIVE_OK ||
      ::archive_write_set_format_pax_restricted(writer.get()) != ARCHIVE_OK ||
      ::archive_write_set_bytes_in_last_block(writer.get(), 1) != ARCHIVE_OK ||  // no padding
      ::archive_write_open(writer.get(), &bytes, nullptr, append, nullptr) != ARCHIVE_OK) {
    return error_of(writer.get(), file);
  }
  const std::string root = package.filename().string();
  for (const fs::path& path : paths) {
    FIB_CHECK(add(writer.get(), path, root + "/" + path.lexically_relative(package).string()));
  }
  if (::archive_write_close(writer.get()) != ARCHIVE_OK) return error_of(writer.get(), file);
  return write_file_atomically(file, bytes);
}

}  // namespace fib
