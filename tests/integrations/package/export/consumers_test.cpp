// Programs of other people, built against a package with their own tools: tests/consumers.

#include <fmt/format.h>

#include "tests/integrations/package/export/export_fixture.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

using testing::HasSubstr;

class ConsumersTest : public testing::Test {
 protected:
  // One package for all tests, moved after it was built: nothing in it may know where it was.
  static void SetUpTestSuite() {
    folder_ = std::make_unique<ScratchFolder>();
    must(build_package(cpu_spec({{.name = "rmsnorm_h128"}, {.name = "argmax_v512"}}),
                       package_options(), *folder_ / "built", nullptr));
    fs::rename(*folder_ / "built", package());
  }
  static void TearDownTestSuite() { folder_.reset(); }
  static fs::path package() { return *folder_ / "moved"; }

  static bool has(const std::string& program) { return run("command -v " + program).code == 0; }

  static inline std::unique_ptr<ScratchFolder> folder_;
  const fs::path consumers_ = kSource / "tests/consumers";
};

TEST_F(ConsumersTest, AProgramInCFindsItByPkgConfig) {
  if (!has("gcc") || !has("pkg-config")) GTEST_SKIP() << "no gcc or no pkg-config";
  const std::string library = (package() / "lib").string();
  const Finished compiled =
      run("cd " + folder_->path().string() + " && export PKG_CONFIG_PATH=" + library +
          "/pkgconfig && gcc -std=c99 -Wall -Wextra -Wpedantic -Werror " +
          (consumers_ / "c/consumer.c").string() +
          " $(pkg-config --cflags --libs 'fib_kernels >= 1.0') -lm -o consumer");
  ASSERT_EQ(compiled.code, 0) << compiled.output;
  const Finished finished =
      run("LD_LIBRARY_PATH=" + library + " " + (*folder_ / "consumer").string());
  EXPECT_EQ(finished.code, 0) << finished.output;
  EXPECT_THAT(finished.output, HasSubstr("largest relative error 0.00"));
}

TEST_F(ConsumersTest, ACMakeProjectFindsItByItsName) {
  if (!has("cmake")) GTEST_SKIP() << "no cmake";
  const fs::path build = *folder_ / "build";
  const Finished configured = run("cmake -S " + (consumers_ / "cmake").string() + " -B " +
                                  build.string() + " -DCMAKE_PREFIX_PATH=" + package().string());
  ASSERT_EQ(configured.code, 0) << configured.output;
  EXPECT_THAT(configured.output, HasSubstr("package fib-kernels 2026.11.22"));
  const Finished built = run("cmake --build " + build.string());
  ASSERT_EQ(built.code, 0) << built.output;
  const Finished finished = run((build / "consumer").string());
  EXPECT_EQ(finished.code, 0) << finished.output;
  EXPECT_EQ(finished.output, "7 511 0\n");
}

TEST_F(ConsumersTest, AnotherMajorVersionIsNotFound) {
  if (!has("cmake")) GTEST_SKIP() << "no cmake";
  const fs::path project = *folder_ / "other";
  fs::create_directory(project);
  for (const auto& [version, is_found] :
       {std::pair("1", true), {"1.0", true}, {"1.9", false}, {"2", false}, {"0.9", false}}) {
    must(write_file_atomically(project / "CMakeLists.txt",
                               fmt::format("cmake_minimum_required(VERSION 3.16)\n"
                                           "project(other LANGUAGES CXX)\n"
                                           "find_package(fib_kernels {} CONFIG REQUIRED)\n",
                                           version)));
    const Finished configured = run("cmake -S " + project.string() + " -B " + project.string() +
                                    "/build -DCMAKE_PREFIX_PATH=" + package().string());
    EXPECT_EQ(configured.code == 0, is_found) << version << "\n" << configured.output;
  }
}

}  // namespace
}  // namespace fib
