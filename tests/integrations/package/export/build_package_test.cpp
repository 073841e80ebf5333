// Packages built for real, of small signatures of the house's cpu solutions.

#include <algorithm>
#include <set>
#include <sstream>

#include "signatures/base/hash.h"
#include "tests/integrations/package/export/export_fixture.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

const std::vector<SignatureRequest> kSmall = {
    {.name = "rmsnorm_h128"},
    {.name = "rmsnorm_h128", .parameters = {{"eps", 0.5}}},
    {.name = "argmax_v512"}};

std::set<std::string> entries_of(const fs::path& folder) {
  std::set<std::string> entries;
  for (const auto& entry : fs::directory_iterator(folder)) {
    entries.insert(entry.path().filename().string());
  }
  return entries;
}

class BuildPackageTest : public testing::Test {
 protected:
  BuiltPackage build(const PackageSpec& spec, const std::string& name = "package") {
    return must(build_package(spec, package_options(), folder_ / name, nullptr));
  }
  Error refusal(const PackageSpec& spec, const PackageBuildOptions& options = package_options()) {
    const auto built = build_package(spec, options, folder_ / "package", nullptr);
    EXPECT_FALSE(built);
    EXPECT_THAT(entries_of(folder_.path()), testing::IsEmpty()) << "something was left behind";
    return built ? Error{} : built.error();
  }
  ScratchFolder folder_;
};

TEST_F(BuildPackageTest, HoldsWhatItPromises) {
  std::vector<size_t> steps;
  const auto built = must(
      build_package(cpu_spec(kSmall), package_options(), folder_ / "package",
                    [&](size_t done, size_t total, std::string_view what) {
                      steps.push_back(done);
                      EXPECT_EQ(total, 5u);  // two solutions of rmsnorm, twice, and one of argmax
                      EXPECT_THAT(std::string(what), HasSubstr(" for native"));
                    }));
  EXPECT_EQ(steps, (std::vector<size_t>{1, 2, 3, 4, 5}));
  EXPECT_THAT(built.notes, testing::IsEmpty());
  const fs::path package = folder_ / "package";
  EXPECT_EQ(built.folder, package);
  EXPECT_EQ(built.bytes, fs::file_size(package / "lib/libfib_kernels.so"));
  EXPECT_EQ(entries_of(package),
            (std::set<std::string>{"README.md", "SHA256SUMS", "include", "lib", "share"}));
  EXPECT_EQ(entries_of(package / "lib"),
            (std::set<std::string>{"cmake", "libfib_kernels.so", "pkgconfig"}));
  EXPECT_EQ(must(read_file(package / "share/fib_kernels/manifest.json")), built.manifest);
  EXPECT_THAT(must(read_file(package / "share/fib_kernels/LICENSES")),
              AllOf(HasSubstr("\nApache-2.0\n"), HasSubstr("rmsnorm-rows by fib")));
  EXPECT_THAT(must(read_file(package / "share/fib_kernels/LICENSE")),
              AllOf(HasSubstr("Apache License"), HasSubstr("Version 2.0")));
  EXPECT_EQ(must(read_solution_folder(package / "share/fib_kernels/solutions/argmax-lanes")).name,
            "argmax-lanes");

  const Finished sums = run("cd " + package.string() + " && sha256sum -c --strict SHA256SUMS");
  EXPECT_EQ(sums.code, 0) << sums.output;
  size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(package))
    files += entry.is_regular_file();
  EXPECT_EQ(std::count(sums.output.begin(), sums.output.end(), '\n'), files - 1);
}

TEST_F(BuildPackageTest, TheManifestTellsWhatIsInIt) {
  const auto built = build(cpu_spec(kSmall));
  const Json manifest = must(parse_json(built.manifest, "manifest"));
  EXPECT_EQ(manifest["format"], "fib-kernels");
  EXPECT_EQ(manifest["version"], "2026.11.22");
  EXPECT_EQ(manifest["abi"], "1.0");
  EXPECT_EQ(manifest["fib_version"], "0.0.0-test");
  EXPECT_EQ(manifest["created_from"], "the house's solutions");
  EXPECT_EQ(manifest["cpu_levels"], Json({"native"}));
  ASSERT_EQ(manifest["signatures"].size(), 3u);
  const Json& changed = manifest["signatures"][1];
  EXPECT_EQ(changed["name"], "rmsnorm_h128");
  EXPECT_EQ(changed["parameters"]["eps"]["value"], 0.5);
  EXPECT_NE(changed["parameters"]["eps"]["signature"], 0.5);
  EXPECT_EQ(changed["tvm_ffi"], "rmsnorm_h128_eps_0_5");
  EXPECT_EQ(changed["cpu_fallback"], Json({"rmsnorm-rows", "rmsnorm-plain"}));
  const Json& rows = changed["solutions"][0];
  EXPECT_EQ(rows["license"], "Apache-2.0");
  EXPECT_EQ(rows["cpu_levels"], Json({"native"}));
  EXPECT_EQ(rows["key"], solution_key(cpu_spec(kSmall).signatures[0].solutions[0]));
  EXPECT_EQ(manifest["sources"].size(), 3u) << "each solution once";
  EXPECT_EQ(manifest["toolchain"].size(), 1u);
  EXPECT_NE(manifest["toolchain"]["compiler"], "");
  for (const Json& source : manifest["sources"]) {
    EXPECT_EQ(source["fib_headers"]["fib/cpu.h"],
              sha256_hex(must(read_file(kSource / "harness/abi/fib/cpu.h"))).substr(0, 8));
  }
}

TEST_F(BuildPackageTest, ShowsItsInterfaceAndNothingElse) {
  build(cpu_spec(kSmall));
  const std::string library = (folder_ / "package/lib/libfib_kernels.so").string();
  const Finished listed = run("nm -D --defined-only --format=just-symbols " + library);
  std::istringstream lines(listed.output);
  std::set<std::string> symbols;
  const std::string version = "FIB_KERNELS_1";
  for (std::string symbol; lines >> symbol;) {
    const size_t at = symbol.find("@@");
    if (symbol.substr(0, at) == version) continue;  // the version itself
    EXPECT_EQ(symbol.substr(at == std::string::npos ? symbol.size() : at), "@@" + version)
        << symbol;
    symbols.insert(symbol.substr(0, at));
  }
  EXPECT_THAT(symbols, Each(testing::AnyOf(StartsWith("fib_kernels_"), StartsWith("__tvm_ffi_"))));
  for (const char* symbol : {"fib_kernels_get_api", "fib_kernels_launch", "__tvm_ffi_argmax_v512",
                             "__tvm_ffi_rmsnorm_h128", "__tvm_ffi_rmsnorm_h128_prepare",
                             "__tvm_ffi_rmsnorm_h128_eps_0_5"}) {
    EXPECT_TRUE(symbols.contains(symbol)) << symbol;
  }
  EXPECT_FALSE(symbols.contains("fib_kernels_table"));

  const Finished dynamic = run("readelf -dnW " + library);
  EXPECT_THAT(
      dynamic.output,
      AllOf(HasSubstr("Library soname: [libfib_kernels.so]"), HasSubstr("BIND_NOW"),
            HasSubstr("SYMBOLIC"), HasSubstr("Build ID"), Not(HasSubstr("RUNPATH")),
            Not(HasSubstr("RPATH")), Not(HasSubstr("libstdc++")), Not(HasSubstr("libgcc_s"))));
  EXPECT_THAT(run("readelf -lW " + library).output,
              AllOf(HasSubstr("GNU_RELRO"), Not(HasSubstr("RWE"))));
}

TEST_F(BuildPackageTest, TheSameInputsGiveTheSameBytes) {
  PackageBuildOptions other = package_options();
  other.cache_folder = folder_ / "cache";  // nothing of the first build is used for the second
  other.threads = 1;
  build(cpu_spec(kSmall), "one");
  must(build_package(cpu_spec(kSmall), other, folder_ / "two", nullptr));
  EXPECT_EQ(must(read_file(folder_ / "one/SHA256SUMS")),
            must(read_file(folder_ / "two/SHA256SUMS")));

  must(archive_package(folder_ / "one", folder_ / "one.tar.zst"));
  fs::remove_all(folder_ / "one");
  fs::rename(folder_ / "two", folder_ / "one");
  must(archive_package(folder_ / "one", folder_ / "again.tar.zst"));
  EXPECT_EQ(must(read_file(folder_ / "one.tar.zst")), must(read_file(folder_ / "again.tar.zst")));
}

TEST_F(BuildPackageTest, AnArchiveUnpacksToThePackage) {
  build(cpu_spec({kSmall[0]}));
  must(archive_package(folder_ / "package", folder_ / "package.tar.zst"));
  fs::create_directory(folder_ / "unpacked");
  const Finished unpacked = run("cd " + folder_.path().string() +
                                "/unpacked && tar --zstd -xf ../package.tar.zst"
                                " && cd package && sha256sum --quiet -c SHA256SUMS && cmp "
                                "SHA256SUMS ../../package/SHA256SUMS");
  EXPECT_EQ(unpacked.code, 0) << unpacked.output;

  const auto refused = archive_package(folder_ / "unpacked", folder_ / "no.tar.zst");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().to_string(), HasSubstr("is no kernel package"));
  EXPECT_FALSE(fs::exists(folder_ / "no.tar.zst"));
}

TEST_F(BuildPackageTest, ReplacesPackagesAndEmptyFoldersOnly) {
  fs::create_directory(folder_ / "package");
  build(cpu_spec({kSmall[0]}));
  must(write_file_atomically(folder_ / "package/left-over", "x"));
  build(cpu_spec({kSmall[2]}));
  EXPECT_FALSE(fs::exists(folder_ / "package/left-over"));
  EXPECT_THAT(must(read_file(folder_ / "package/share/fib_kernels/manifest.json")),
              AllOf(HasSubstr("argmax_v512"), Not(HasSubstr("rmsnorm"))));
  EXPECT_EQ(entries_of(folder_.path()), std::set<std::string>{"package"});

  fs::create_directory(folder_ / "mine");
  must(write_file_atomically(folder_ / "mine/diary.txt", "x"));
  const auto refused =
      build_package(cpu_spec({kSmall[0]}), package_options(), folder_ / "mine", nullptr);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().where, (folder_ / "mine").string());
  EXPECT_THAT(refused.error().message, HasSubstr("is no kernel package"));
  EXPECT_TRUE(fs::exists(folder_ / "mine/diary.txt"));
}

TEST_F(BuildPackageTest, AFolderMayBeNamedFromWhereOneIs) {
  const fs::path before = fs::current_path();
  fs::current_path(folder_.path());
  const auto built =
      build_package(cpu_spec({kSmall[2]}), package_options(), "some/package/", nullptr);
  fs::current_path(before);
  ASSERT_TRUE(built) << built.error().to_string();
  EXPECT_EQ(built->folder, folder_ / "some/package");
  EXPECT_TRUE(fs::exists(folder_ / "some/package/SHA256SUMS"));
}

TEST_F(BuildPackageTest, AFallbackThatDoesNotBuildIsAnError) {
  const Error error =
      refusal(spec_of(cpu_solution("wrong", "rmsnorm", "int fib_run(;"), "rmsnorm_h128"));
  EXPECT_EQ(error.where, "rmsnorm_h128");
  EXPECT_THAT(error.message, AllOf(HasSubstr("builds for native"), HasSubstr("'wrong'"),
                                   HasSubstr("solution.cpp:1:")));
  EXPECT_NE(error.remedy, "");
}

// ptxas has hundreds of lines to say of one instruction that a card lacks.
TEST_F(BuildPackageTest, CompilersAreQuotedInAFewLines) {
  std::string code = "#include <fib/cpu.h>\n";
  for (int i = 0; i < 40; ++i) code += "int f" + std::to_string(i) + "() { return missing; }\n";
  const Error error = refusal(spec_of(cpu_solution("wordy", "rmsnorm", code), "rmsnorm_h128"));
  EXPECT_THAT(error.message, AllOf(HasSubstr("solution.cpp:2:"), HasSubstr("solution.cpp:6:"),
                                   Not(HasSubstr("solution.cpp:7:")), HasSubstr("more lines)")));
  EXPECT_LT(std::count(error.message.begin(), error.message.end(), '\n'), 10);
}

TEST_F(BuildPackageTest, AVersionIsMadeOfTheEvidenceAndTheContent) {
  PackageSpec spec = cpu_spec({kSmall[0]});
  spec.version.clear();
  const BuiltPackage house = build(spec);
  EXPECT_THAT(house.version, testing::MatchesRegex("0\\.0\\.0-test\\+[0-9a-f]{8}"));
  EXPECT_EQ(build(spec).version, house.version) << "whatever the day";
  EXPECT_EQ(must(parse_json(house.manifest, "manifest"))["version"], house.version);

  spec.created_from = "something else";
  const BuiltPackage other = build(spec);
  EXPECT_NE(other.version, house.version) << "another package";
  spec.signatures[0].hardware = {
      {.hardware = "that",
       .target = "cpu",
       .buckets = {{.where = {{.axis = "batch_size", .low = 1, .high = 4}},
                    .solution = 0,
                    .evidence = {.speedup = 1.5, .measured = "2026-09-30T08:00:00+02:00"}},
                   {.where = {{.axis = "batch_size", .low = 5}},
                    .solution = 0,
                    .evidence = {.speedup = 1.5, .measured = "2026-11-02T10:00:00+01:00"}}}}};
  EXPECT_THAT(build(spec).version, testing::MatchesRegex("2026\\.11\\.2\\+[0-9a-f]{8}"));
}

TEST_F(BuildPackageTest, AnotherSolutionThatDoesNotBuildIsLeftOut) {
  PackageSpec spec = cpu_spec({kSmall[0]});
  PackagedSignature& packaged = spec.signatures[0];
  packaged.solutions.insert(packaged.solutions.begin(),
                            cpu_solution("wrong", "rmsnorm", "int fib_run(;"));
  packaged.cpu_fallback = {1, 0, 2};
  packaged.hardware = {
      {.hardware = "that",
       .target = "cpu",
       .buckets = {{.where = {{.axis = "batch_size", .low = 1, .high = 4}}, .solution = 0},
                   {.where = {{.axis = "batch_size", .low = 5}},
                    .solution = 2,
                    .evidence = {.verdicts = {7, 8}, .speedup = 1.5},
                    .reason = "because"}}}};
  const auto built = build(spec);
  ASSERT_EQ(built.notes.size(), 1u);
  EXPECT_THAT(built.notes[0], AllOf(StartsWith("rmsnorm_h128: 'wrong' is left out for native"),
                                    HasSubstr("solution.cpp:1:")));
  const Json manifest = must(parse_json(built.manifest, "manifest"));
  const Json& signature = manifest["signatures"][0];
  EXPECT_EQ(signature["cpu_fallback"], Json({"rmsnorm-rows", "rmsnorm-plain"}));
  ASSERT_EQ(signature["hardware"][0]["buckets"].size(), 1u);
  const Json& bucket = signature["hardware"][0]["buckets"][0];
  EXPECT_EQ(bucket["solution"], "rmsnorm-plain");
  EXPECT_EQ(bucket["where"], must(parse_json(R"({"batch_size": [5, null]})", "")));
  EXPECT_EQ(bucket["reason"], "because");
  EXPECT_EQ(bucket["evidence"]["verdicts"], Json({7, 8}));
  EXPECT_THAT(built.manifest, Not(HasSubstr("wrong")));
}

// Names are their authors': two may be alike, one may be a path.
TEST_F(BuildPackageTest, SourcesOfSolutionsStayInFoldersOfTheirOwn) {
  PackageSpec spec = cpu_spec({kSmall[0]});
  PackagedSignature& packaged = spec.signatures[0];
  packaged.solutions.push_back(packaged.solutions[1]);
  packaged.solutions[0].name = packaged.solutions[1].name = "../../mine";
  packaged.solutions[2].name = ".hidden name";
  packaged.cpu_fallback = {0, 1, 2};
  build(spec);
  const std::set<std::string> folders = entries_of(folder_ / "package/share/fib_kernels/solutions");
  ASSERT_EQ(folders.size(), 3u);
  EXPECT_TRUE(folders.contains("_hidden_name"));
  for (size_t i = 0; i < 2; ++i) {
    const std::string key = solution_key(packaged.solutions[i]);
    EXPECT_TRUE(folders.contains("_._.._mine-" + key.substr(0, 8)));
  }
}

TEST_F(BuildPackageTest, CodeThatWouldRunWhenThePackageIsLoadedIsRefused) {
  const Error error = refusal(spec_of(cpu_solution("eager", "rmsnorm", R"(
      #include <fib/cpu.h>
      int table();
      static const int kTable = table();
      int table() { return 7; }
      extern "C" int fib_run(const FibCall* call) { return call->num_threads - kTable; })"),
                                      "rmsnorm_h128"));
  EXPECT_THAT(error.message, HasSubstr("static constructors"));
}

TEST_F(BuildPackageTest, AMissingEntryPointIsNamed) {
  const Error error =
      refusal(spec_of(cpu_solution("mangled", "rmsnorm", "int fib_run(const void*) { return 0; }"),
                      "rmsnorm_h128"));
  EXPECT_THAT(error.message, HasSubstr("does not export fib_run"));
}

TEST_F(BuildPackageTest, AMissingRuntimeIsNamed) {
  PackageBuildOptions options = package_options();
  options.runtime_archive = folder_ / "nowhere.a";
  const Error error = refusal(cpu_spec({kSmall[2]}), options);
  EXPECT_EQ(error.code, ErrorCode::kEnvironment);
  EXPECT_EQ(error.where, (folder_ / "nowhere.a").string());
}

}  // namespace
}  // namespace fib
