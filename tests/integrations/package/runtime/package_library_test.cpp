// Packages as a program opens them: folders, archives and objects, whole, damaged and exchanged.

#include "integrations/package/package_library.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "integrations/package/export/build_package.h"
#include "signatures/base/file.h"
#include "signatures/base/hash.h"
#include "tests/scratch_folder.h"

namespace fib {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// A package's folder as fib export writes it, with the hand-written object.
class PackageFolder : public testing::Test {
 protected:
  PackageFolder() {
    fs::create_directories(folder / "lib");
    fs::create_directories(folder / "share/fib_kernels");
    fs::copy_file(FIB_SMALL_OBJECT, library);
    put("share/fib_kernels/manifest.json", "{\"name\": \"small\"}");
    write_sums();
  }
  void put(const std::string& name, std::string_view content) {
    if (!write_file_atomically(folder / name, content)) throw std::runtime_error(name);
  }
  static std::string digest(const fs::path& file) { return sha256_hex(*read_file(file)); }
  void write_sums() {
    std::string sums;
    for (const char* name : {"lib/libfib_kernels.so", "share/fib_kernels/manifest.json"}) {
      sums += digest(folder / name) + "  " + name + "\n";
    }
    put("SHA256SUMS", sums);
  }
  Error refused(const fs::path& package) {
    const auto opened = PackageLibrary::open(package, scratch.path() / "cache");
    EXPECT_FALSE(opened) << package;
    return opened ? Error{} : opened.error();
  }
  PackageLibraryPtr open(const fs::path& package) {
    auto opened = PackageLibrary::open(package, scratch.path() / "cache");
    if (!opened) throw std::runtime_error(opened.error().to_string());
    return *opened;
  }

  ScratchFolder scratch;
  fs::path folder = scratch.path() / "small-1.2.3";
  fs::path library = folder / "lib/libfib_kernels.so";
};

TEST_F(PackageFolder, IsOpened) {
  const PackageLibraryPtr package = open(folder);
  EXPECT_EQ(package->manifest().at("name"), "small");
  EXPECT_EQ(package->digest(), digest(library));
  EXPECT_EQ(package->path(), folder);
  const fib_kernels_api& api = package->api();
  EXPECT_EQ(api.num_signatures(), 2u);
  fib_kernels_device_options options = FIB_KERNELS_DEVICE_OPTIONS_INIT;
  options.num_threads = 1;
  fib_kernels_device* device = nullptr;
  ASSERT_TRUE(package->check(api.open(&options, &device), "open"));
  const fib_kernels_op* op = nullptr;
  const auto found = package->check(api.find(device, "rmsnorm", nullptr, 0, &op), "here");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(found.error().where, "here");
  EXPECT_THAT(found.error().message, HasSubstr("no signature 'rmsnorm' in this package"));
  EXPECT_THAT(found.error().message, HasSubstr("(NOT_FOUND)"));
  api.close(device);
}

TEST_F(PackageFolder, TheObjectAloneIsEnough) {
  EXPECT_EQ(open(FIB_SMALL_OBJECT)->digest(), digest(FIB_SMALL_OBJECT));
}

TEST_F(PackageFolder, TravelsAsAnArchive) {
  const fs::path archive = scratch.path() / "small.tar.zst";
  ASSERT_TRUE(archive_package(folder, archive));
  const PackageLibraryPtr package = open(archive);
  EXPECT_EQ(package->digest(), digest(library));
  EXPECT_EQ(open(archive)->digest(), digest(library));  // from the cache

  const std::string bytes = *read_file(archive);
  const fs::path half = scratch.path() / "half.tar.zst", noise = scratch.path() / "noise.tar.zst";
  ASSERT_TRUE(write_file_atomically(half, bytes.substr(0, bytes.size() / 2)));
  ASSERT_TRUE(write_file_atomically(noise, "no archive at all"));
  EXPECT_THAT(refused(half).message, HasSubstr("can't be unpacked"));
  EXPECT_THAT(refused(noise).message, HasSubstr("can't be unpacked"));
}

TEST_F(PackageFolder, AChangedFileIsRefused) {
  put("share/fib_kernels/manifest.json", "{\"name\": \"other\"}");
  const Error error = refused(folder);
  EXPECT_EQ(error.code, ErrorCode::kInvalidInput);
  EXPECT_THAT(error.where, HasSubstr("share/fib_kernels/manifest.json"));
  EXPECT_THAT(error.message, HasSubstr("is not what was exported: its SHA-256 is"));
}

TEST_F(PackageFolder, AMissingFileIsRefused) {
  fs::remove(library);
  EXPECT_THAT(refused(folder).to_string(), HasSubstr("lib/libfib_kernels.so: is missing"));
  fs::remove(folder / "SHA256SUMS");
  EXPECT_THAT(refused(folder).message, HasSubstr("is no kernel package: it has no SHA256SUMS"));
  EXPECT_EQ(refused(scratch.path() / "nothing").code, ErrorCode::kNotFound);
}

TEST_F(PackageFolder, BadSumsAreRefused) {
  put("SHA256SUMS", std::string(64, '0') + "  ../../etc/passwd\n");
  EXPECT_THAT(refused(folder).to_string(), HasSubstr("SHA256SUMS:1: a SHA-256, two spaces"));
  put("SHA256SUMS", "short\n");
  EXPECT_THAT(refused(folder).to_string(), HasSubstr("SHA256SUMS:1: a SHA-256, two spaces"));
  put("SHA256SUMS",
      digest(folder / "share/fib_kernels/manifest.json") + "  share/fib_kernels/manifest.json\n");
  EXPECT_THAT(refused(folder).message, HasSubstr("doesn't list lib/libfib_kernels.so"));
}

TEST_F(PackageFolder, AnObjectThatIsCutOffIsRefused) {
  const std::string bytes = *read_file(library);
  const fs::path half = scratch.path() / "half.so", text = scratch.path() / "text.so";
  ASSERT_TRUE(write_file_atomically(half, bytes.substr(0, bytes.size() / 2)));
  ASSERT_TRUE(write_file_atomically(text, "text"));
  EXPECT_THAT(refused(half).message, HasSubstr("is cut off"));
  EXPECT_THAT(refused(text).message, HasSubstr("is no shared object"));
}

TEST_F(PackageFolder, AnotherInterfaceIsRefused) {
  const Error error = refused(FIB_LATER_OBJECT);
  EXPECT_EQ(error.code, ErrorCode::kUnsupported);
  EXPECT_THAT(error.message,
              HasSubstr("the package's interface is version 2.3, this fib takes 1.0"));
}

// The package is exported anew while a program serves with it.
TEST_F(PackageFolder, WhatTookItsPlaceIsOpenedBesideIt) {
  const PackageLibraryPtr before = open(folder);
  std::string other = *read_file(library);
  const std::string name = "{\"name\": \"small\"}";
  other.replace(other.find(name), name.size(), "{\"name\": \"SMALL\"}");
  put("lib/libfib_kernels.so", other);
  write_sums();
  const PackageLibraryPtr after = open(folder);
  EXPECT_EQ(before->manifest().at("name"), "small");
  EXPECT_EQ(after->manifest().at("name"), "SMALL");
  EXPECT_NE(&before->api(), &after->api());
}

}  // namespace
}  // namespace fib
