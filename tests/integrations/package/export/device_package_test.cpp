// Packages with code for cards, built without one. Skips without libnvrtc.

#include "tests/integrations/package/export/export_fixture.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

using testing::AllOf;
using testing::HasSubstr;

class DevicePackageTest : public testing::Test {
 protected:
  void SetUp() override {
    if (auto library = find_cuda_library({}, CudaLibrary::kNvrtc); !library) {
      GTEST_SKIP() << library.error().to_string();
    }
  }

  static PackageSpec card_spec(std::vector<std::string> architectures) {
    PackageSpec spec = must(house_package_spec({{.name = "rmsnorm_h128"}, {.name = "rmsnorm_h256"}},
                                               catalog(), house("cuda")));
    spec.version = "1";
    spec.cuda_architectures = std::move(architectures);
    return spec;
  }

  ScratchFolder folder_;
};

TEST_F(DevicePackageTest, HoldsABinaryForEachArchitecture) {
  const auto built = must(build_package(card_spec({"sm_80", "sm_90a"}), package_options(),
                                        folder_ / "package", nullptr));
  EXPECT_THAT(built.notes, testing::IsEmpty());
  const Json manifest = must(parse_json(built.manifest, "manifest"));
  const Json& solution = manifest["signatures"][0]["solutions"][0];
  EXPECT_EQ(solution["target"], "cuda");
  EXPECT_EQ(solution["cuda_architectures"], Json({"sm_80", "sm_90a"}));
  EXPECT_EQ(manifest["signatures"][0]["cuda_fallback"][0], solution["name"]);

  // Device binaries are ELF files of machine 190 (EM_CUDA), embedded as they are.
  const std::string library = must(read_file(folder_ / "package/lib/libfib_kernels.so"));
  size_t binaries = 0;
  const std::string magic(
      "\x7f"
      "ELF\x02\x01",
      6);
  for (size_t at = library.find(magic, 1); at != std::string::npos;
       at = library.find(magic, at + 1)) {
    binaries += library.compare(at + 18, 2, std::string("\xbe\0", 2)) == 0;
    EXPECT_EQ(at % 64, 0u) << "the driver reads it in place";
  }
  size_t expected = 0;
  for (const Json& signature : manifest["signatures"]) {
    expected += 2 * signature["solutions"].size();
  }
  EXPECT_EQ(binaries, expected);
  EXPECT_EQ(library.find(kSource.string() + "/"), std::string::npos) << "a path of this machine";
  EXPECT_EQ(library.find(fs::current_path().string()), std::string::npos);
}

TEST_F(DevicePackageTest, BothTargetsFitIntoOne) {
  PackageSpec spec = card_spec({"sm_90a"});
  const PackageSpec host = cpu_spec({{.name = "rmsnorm_h128"}});
  PackagedSignature& packaged = spec.signatures[0];
  for (const Solution& solution : host.signatures[0].solutions) {
    packaged.cpu_fallback.push_back(packaged.solutions.size());
    packaged.solutions.push_back(solution);
  }
  spec.cpu_levels = {"native"};
  const auto built = must(build_package(spec, package_options(), folder_ / "package", nullptr));
  const Json manifest = must(parse_json(built.manifest, "manifest"));
  EXPECT_EQ(manifest["signatures"][0]["cpu_fallback"][0], "rmsnorm-rows");
  EXPECT_FALSE(manifest["signatures"][0]["cuda_fallback"].empty());
  EXPECT_TRUE(manifest["signatures"][1]["cpu_fallback"].empty());
}

TEST_F(DevicePackageTest, AnArchitectureThatNvrtcDoesNotKnowIsAnError) {
  const auto refused =
      build_package(card_spec({"sm_10"}), package_options(), folder_ / "package", nullptr);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().to_string(), AllOf(HasSubstr("rmsnorm_h128"), HasSubstr("sm_10")));
  EXPECT_FALSE(fs::exists(folder_ / "package"));
}

TEST_F(DevicePackageTest, AMissingCompilerIsNamed) {
  PackageBuildOptions options = package_options();
  options.worker_executable = folder_ / "no-fib";
  const auto refused = build_package(card_spec({"sm_90a"}), options, folder_ / "package", nullptr);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message, "");
  EXPECT_FALSE(fs::exists(folder_ / "package"));
}

}  // namespace
}  // namespace fib
