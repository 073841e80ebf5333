// Programs of other people, built against a package with their own tools: tests/consumers.

#include <fmt/format.h>

#include <sstream>

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

  // The lines of a text that begin so: what it says is to be typed.
  static std::string commands_of(const std::string& text, const std::string& indent) {
    std::string commands;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with(indent)) commands += line.substr(indent.size()) + "\n";
    }
    return commands;
  }

  static inline std::unique_ptr<ScratchFolder> folder_;
  const fs::path consumers_ = kSource / "tests/consumers";
};

// The program says how it is built and run: done to the letter, with warnings as errors.
TEST_F(ConsumersTest, AProgramInCIsBuiltAndRunAsItSays) {
  if (!has("gcc") || !has("pkg-config")) GTEST_SKIP() << "no gcc or no pkg-config";
  const std::string source = must(read_file(consumers_ / "c/consumer.c"));
  const std::string commands =
      "set -e; PACKAGE=" + package().string() + "\n" + commands_of(source, " *     ");
  ASSERT_THAT(commands, HasSubstr("gcc -std=c99 consumer.c"));
  const fs::path folder = *folder_ / "c";
  fs::create_directory(folder);
  must(write_file_atomically(folder / "consumer.c", source));
  const Finished finished =
      run("cd " + folder.string() +
          "; gcc() { command gcc -Wall -Wextra -Wpedantic -Werror \"$@\"; }\n" + commands);
  EXPECT_EQ(finished.code, 0) << commands << finished.output;
  EXPECT_THAT(finished.output, HasSubstr("rmsnorm_h128 by "));
  EXPECT_THAT(finished.output, HasSubstr("largest relative error 0.00"));

  // A package whose interface has another major version: the loader refuses it.
  const fs::path other = *folder_ / "other-lib";
  fs::create_directory(other);
  must(write_file_atomically(other / "exports.map", "FIB_KERNELS_2 { global: fib_kernels_*; };\n"));
  std::string functions;
  for (const char* name : {"num_signatures", "signature", "status_name", "last_error", "open",
                           "find", "workspace_bytes", "choose", "launch", "close"}) {
    functions += fmt::format("void fib_kernels_{}(void) {{}}\n", name);
  }
  must(write_file_atomically(other / "other.c", functions));
  const Finished made = run("cd " + other.string() +
                            " && gcc -shared -fPIC -fno-builtin other.c -o libfib_kernels.so "
                            "-Wl,-soname,libfib_kernels.so -Wl,--version-script=exports.map");
  ASSERT_EQ(made.code, 0) << made.output;
  const Finished refused = run("LD_PRELOAD=" + (other / "libfib_kernels.so").string() + " " +
                               (folder / "consumer").string());
  EXPECT_NE(refused.code, 0);
  EXPECT_THAT(refused.output, HasSubstr("version `FIB_KERNELS_1' not found"));
}

// The commands of the package's own README, in its folder.
TEST_F(ConsumersTest, TheReadmeInThePackageIsRight) {
  if (!has("gcc") || !has("pkg-config")) GTEST_SKIP() << "no gcc or no pkg-config";
  const std::string readme = must(read_file(package() / "README.md"));
  EXPECT_THAT(readme, HasSubstr("- `rmsnorm_h128`\n- `argmax_v512`\n"));
  const fs::path copy = *folder_ / "copy";
  fs::copy(package(), copy, fs::copy_options::recursive);
  const Finished finished = run("set -e; cd " + copy.string() + "\n" + commands_of(readme, "    "));
  EXPECT_EQ(finished.code, 0) << finished.output;
  EXPECT_THAT(finished.output, HasSubstr("rmsnorm_h128 by "));
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
