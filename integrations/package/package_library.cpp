#include "integrations/package/package_library.h"

#include <dlfcn.h>
#include <elf.h>
#include <fmt/format.h>

#include <cstring>
#include <optional>
#include <sstream>

#include "integrations/package/package_archive.h"
#include "signatures/base/file.h"
#include "signatures/base/hash.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSums = "SHA256SUMS";
constexpr const char* kLibrary = "lib/libfib_kernels.so";
constexpr const char* kRemedy = "fetch or export the package anew";

Failure damaged(const fs::path& file, std::string what) {
  return fail(ErrorCode::kInvalidInput, std::move(what), file.string(), kRemedy);
}

// Every file that the sums list is there and as it was written; the library's digest.
Result<std::string> check_folder(const fs::path& folder) {
  std::error_code failed;
  const fs::path sums = folder / kSums;
  if (!fs::is_regular_file(sums, failed)) {
    return fail(ErrorCode::kNotFound, fmt::format("is no kernel package: it has no {}", kSums),
                folder.string(), "name a folder or a .tar.zst that fib export wrote");
  }
  std::istringstream lines(FIB_TRY(read_file(sums)));
  std::string library_digest;
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    constexpr size_t kDigits = 64;
    const std::string name = line.size() > kDigits + 2 ? line.substr(kDigits + 2) : "";
    if (!is_safe_relative_path(name) || line.substr(kDigits, 2) != "  ") {
      return damaged(fmt::format("{}:{}", sums.string(), number),
                     "a SHA-256, two spaces and a file of the package are expected");
    }
    if (!fs::is_regular_file(folder / name, failed)) return damaged(folder / name, "is missing");
    const std::string digest = sha256_hex(FIB_TRY(read_file(folder / name)));
    if (digest != line.substr(0, kDigits)) {
      return damaged(folder / name, fmt::format("is not what was exported: its SHA-256 is {}, {} "
                                                "says {}",
                                                digest, kSums, line.substr(0, kDigits)));
    }
    if (name == kLibrary) library_digest = digest;
  }
  if (library_digest.empty()) return damaged(sums, fmt::format("doesn't list {}", kLibrary));
  return library_digest;
}

// The loader maps what the headers promise and doesn't look whether the file is that long.
Result<void> check_object(const fs::path& file, std::string_view content) {
  Elf64_Ehdr header;
  if (content.size() < sizeof header || std::memcmp(content.data(), ELFMAG, SELFMAG) != 0) {
    return damaged(file, "is no shared object");
  }
  std::memcpy(&header, content.data(), sizeof header);
  const uint64_t end = header.e_shoff + uint64_t{header.e_shnum} * header.e_shentsize;
  if (end <= content.size()) return {};
  return damaged(file, fmt::format("is cut off: {} bytes of at least {}", content.size(), end));
}

// The loader takes an object that it has already by the spelling of its path, even if the file is
// another by now. So each content has its own spelling: a slash or "/." for each bit of the digest.
std::string spell(const fs::path& file, std::string_view digest) {
  constexpr size_t kDigits = 8;
  std::string path = fs::absolute(file).parent_path().string();
  for (const char digit : digest.substr(0, kDigits)) {
    const int value = digit <= '9' ? digit - '0' : digit - 'a' + 10;
    for (int bit = 0; bit < 4; ++bit) path += (value >> bit & 1) != 0 ? "/." : "/";
  }
  return path + "/" + file.filename().string();
}

ErrorCode code_of(fib_kernels_status status) {
  switch (status) {
    case FIB_KERNELS_NOT_FOUND: return ErrorCode::kNotFound;
    case FIB_KERNELS_UNSUPPORTED: return ErrorCode::kUnsupported;
    case FIB_KERNELS_NO_DRIVER: return ErrorCode::kEnvironment;
    case FIB_KERNELS_OUT_OF_MEMORY: return ErrorCode::kResourceExhausted;
    case FIB_KERNELS_DEVICE_ERROR: return ErrorCode::kWorkerLost;
    default: return ErrorCode::kInvalidInput;
  }
}

}  // namespace

Result<std::shared_ptr<const PackageLibrary>> PackageLibrary::open(const fs::path& package,
                                                                   const fs::path& cache_folder) {
  std::error_code failed;
  const auto status = fs::status(package, failed);
  if (!fs::exists(status)) {
    return fail(ErrorCode::kNotFound, "no such package", package.string(),
                "name a folder or a .tar.zst that fib export wrote");
  }
  std::shared_ptr<PackageLibrary> library(new PackageLibrary);
  library->path_ = package;
  std::optional<fs::path> folder;
  if (fs::is_directory(status)) folder = package;
  if (package.extension() == ".zst") folder = FIB_TRY(unpack_package(package, cache_folder));
  const fs::path file = folder ? *folder / kLibrary : package;
  if (folder) {
    library->digest_ = FIB_TRY(check_folder(*folder));
  } else {
    const std::string content = FIB_TRY(read_file(file));
    FIB_CHECK(check_object(file, content));
    library->digest_ = sha256_hex(content);
  }

  library->handle_ = ::dlopen(spell(file, library->digest_).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library->handle_ == nullptr) {
    return fail(ErrorCode::kEnvironment, fmt::format("can't be loaded: {}", ::dlerror()),
                file.string(), "it needs the C library of the machine that it was exported on");
  }
  const auto get_api = reinterpret_cast<decltype(&fib_kernels_get_api)>(
      ::dlsym(library->handle_, "fib_kernels_get_api"));
  const auto abi_version = reinterpret_cast<decltype(&fib_kernels_abi_version)>(
      ::dlsym(library->handle_, "fib_kernels_abi_version"));
  if (get_api == nullptr || abi_version == nullptr) {
    return damaged(file, "is no kernel package: fib_kernels_get_api is missing");
  }
  library->api_ = get_api(FIB_KERNELS_ABI_MAJOR);
  if (library->api_ == nullptr || library->api_->struct_size < sizeof(fib_kernels_api)) {
    const uint32_t version = abi_version();
    return fail(ErrorCode::kUnsupported,
                fmt::format("the package's interface is version {}.{}, this fib takes {}.{} and "
                            "later ones of {}",
                            version >> 16, version & 0xffff, FIB_KERNELS_ABI_MAJOR,
                            FIB_KERNELS_ABI_MINOR, FIB_KERNELS_ABI_MAJOR),
                file.string(), "export the package with this fib");
  }
  library->manifest_ = FIB_TRY(parse_json(library->api_->manifest(), file.string() + ": manifest"));
  return library;
}

PackageLibrary::~PackageLibrary() {
  if (handle_ != nullptr) ::dlclose(handle_);
}

Result<void> PackageLibrary::check(fib_kernels_status status, std::string_view where) const {
  if (status == FIB_KERNELS_OK) return {};
  return fail(code_of(status),
              fmt::format("{} ({})", api_->last_error(), api_->status_name(status)),
              std::string(where));
}

}  // namespace fib
