#include "signatures/solution_folder.h"

#include <gtest/gtest.h>

#include <functional>

#include "signatures/catalog.h"
#include "tests/signatures/helpers.h"

namespace fib {
namespace {

// A folder with a correct cuda solution, its manifest changed.
class SolutionFolder : public testing::Test {
 protected:
  Result<Solution> read(const std::function<void(Json&)>& change = [](Json&) {}) {
    Json manifest = fixture("cuda_manifest.json");
    change(manifest);
    folder_.write("solution.json", manifest.dump());
    folder_.write("kernel.cu", "template <int H> __global__ void scale() {}\n");
    folder_.write("plan.cpp", "#include \"fib/plan.h\"\n");
    folder_.write("detail/math.cuh", "// helpers\n");
    return read_solution_folder(folder_.path());
  }
  TemporaryFolder folder_;
};

TEST_F(SolutionFolder, ReadsACudaSolution) {
  const auto solution = read();
  ASSERT_TRUE(solution) << solution.error().to_string();
  EXPECT_EQ(solution->name, "scale-simple");
  EXPECT_EQ(solution->definition, "rmsnorm");
  EXPECT_EQ(solution->language, SolutionLanguage::kCuda);
  EXPECT_EQ(solution->target_hardware, std::vector<std::string>{"cuda"});
  EXPECT_EQ(solution->entry_point, "plan.cpp::fib_plan_entry");
  ASSERT_EQ(solution->sources.size(), 3u);
  EXPECT_EQ(solution->sources[2].path, "detail/math.cuh");
  EXPECT_EQ(solution->sources[2].content, "// helpers\n");
  const auto manifest = manifest_of(*solution);
  ASSERT_TRUE(manifest) << manifest.error().to_string();
  EXPECT_EQ(manifest->target, "cuda");
  EXPECT_EQ(manifest->entry, "kernel.cu");
  EXPECT_EQ(manifest->plan, "plan.cpp");
  EXPECT_EQ(manifest->kernels, std::vector<std::string>{"scale<{hidden_size}>"});
  EXPECT_EQ(manifest->flags, (std::vector<std::string>{"-DUNROLL=4", "-use_fast_math"}));
  EXPECT_EQ(manifest->license, "Apache-2.0");
}

TEST_F(SolutionFolder, ReadsACpuSolution) {
  const auto solution = read([](Json& m) {
    m["target"] = "cpu";
    m["entry"] = "plan.cpp";
    m["flags"] = {"-O3", "-ffast-math"};
    m.erase("plan");
    m.erase("kernels");
  });
  ASSERT_TRUE(solution) << solution.error().to_string();
  EXPECT_EQ(solution->language, SolutionLanguage::kCpp);
  EXPECT_EQ(solution->entry_point, "plan.cpp::fib_run");
}

TEST_F(SolutionFolder, PacksAndUnpacks) {
  const auto solution = read();
  ASSERT_TRUE(solution);
  const Json packed = solution_to_json(*solution);
  EXPECT_EQ(packed["spec"]["language"], "cuda");
  EXPECT_EQ(packed["spec"]["destination_passing_style"], true);
  const TemporaryFolder other;
  other.write("packed.json", dump_json_pretty(packed));
  const auto unpacked = read_solution(other.path() / "packed.json");
  ASSERT_TRUE(unpacked) << unpacked.error().to_string();
  EXPECT_EQ(solution_key(*unpacked), solution_key(*solution));
  EXPECT_EQ(dump_json(solution_to_json(*unpacked)), dump_json(packed));

  const auto target = other.path() / "new/folder";
  const auto written = write_solution_folder(*unpacked, target);
  ASSERT_TRUE(written) << written.error().to_string();
  for (const auto& path : {target, target / "solution.json"}) {
    const auto again = read_solution(path);
    ASSERT_TRUE(again) << again.error().to_string();
    EXPECT_EQ(dump_json(solution_to_json(*again)), dump_json(packed));
  }
  const auto refused = write_solution_folder(*unpacked, target);
  expect_error(refused, {"new/folder", "not empty"});
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidInput);
}

TEST_F(SolutionFolder, RefusesEachBrokenRuleByItsPlace) {
  struct Case {
    std::function<void(Json&)> change;
    std::vector<std::string_view> parts;
  };
  const Case cases[] = {
      {[](Json& m) { m["kernel"] = "x"; }, {"solution.json", "kernel", "did you mean 'kernels'?"}},
      {[](Json& m) { m.erase("author"); }, {"solution.json", "author"}},
      {[](Json& m) { m["name"] = "../x"; }, {"/name", "can't be a file name"}},
      {[](Json& m) { m["target"] = "tpu"; }, {"/target", "no target 'tpu'"}},
      {[](Json& m) { m["entry"] = "other.cu"; }, {"/entry", "'other.cu' is not among the sources"}},
      {[](Json& m) { m["plan"] = "kernel.cu"; }, {"/plan", "two files"}},
      {[](Json& m) { m.erase("plan"); }, {"solution.json", "plan"}},
      {[](Json& m) { m["kernels"] = Json::array(); }, {"/kernels", "no kernel is named"}},
      {[](Json& m) { m["kernels"] = {"a", "a"}; }, {"/kernels", "'a' is there twice"}},
      {[](Json& m) { m["kernels"] = {""}; }, {"/kernels", "is empty"}},
      {[](Json& m) { m["target"] = "cpu"; }, {"/plan", "a cpu solution has no 'plan'"}},
      {[](Json& m) { m["sources"][0] = "missing.cu"; }, {"/sources/0", "no file", "missing.cu"}},
      {[](Json& m) { m["sources"][0] = "/etc/passwd"; }, {"/sources/0", "leaves the folder"}},
      {[](Json& m) { m["sources"][0] = "a/../../x"; }, {"/sources/0", "leaves the folder"}},
      {[](Json& m) { m["sources"][0] = "./kernel.cu"; }, {"/sources/0", "leaves the folder"}},
      {[](Json& m) { m["sources"][0] = "solution.json"; }, {"/sources/0", "manifest"}},
      {[](Json& m) { m["sources"][0] = "detail"; }, {"/sources/0", "no file"}},
      {[](Json& m) { m["sources"].push_back("kernel.cu"); }, {"/sources/3", "there twice"}},
  };
  for (const Case& test : cases) {
    const auto solution = read(test.change);
    ASSERT_FALSE(solution) << test.parts[0];
    const std::string text = solution.error().to_string();
    for (const auto part : test.parts) {
      EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in: " << text;
    }
  }
}

TEST_F(SolutionFolder, AllowsOnlyListedFlags) {
  for (const char* flag : {"-DX", "-DTILE=128", "-DT=float", "-maxrregcount=64", "-std=c++20",
                           "--extra-device-vectorization", "--use_fast_math", "-lineinfo"}) {
    EXPECT_TRUE(read([&](Json& m) { m["flags"] = {flag}; })) << flag;
  }
  for (const char* flag : {"-march=native", "-arch=sm_90", "-I/etc", "-include", "-D", "-D1X",
                           "-DFIB_AXIS_h=1", "-D__CUDA_ARCH__=1", "-DX=", "-DX=`id`", "-DX=a b",
                           "-maxrregcount=", "-maxrregcount=4x", "-maxrregcount=1", "-O3", "-o",
                           "-std=c++14", "@file", ""}) {
    expect_error(read([&](Json& m) { m["flags"] = {"-DX", flag}; }),
                 {"/flags/1", "is not allowed for cuda"});
  }
}

TEST_F(SolutionFolder, RefusesLinksBigFilesAndBinaries) {
  ASSERT_TRUE(read());
  const auto with_extra = [](Json& m) { m["sources"].push_back("extra.h"); };
  std::filesystem::create_symlink("/etc/hostname", folder_.path() / "extra.h");
  expect_error(read(with_extra), {"/sources/3", "extra.h' is a symbolic link"});
  std::filesystem::remove(folder_.path() / "extra.h");
  std::filesystem::create_directory_symlink("/etc", folder_.path() / "etc");
  expect_error(read([](Json& m) { m["sources"].push_back("etc/hostname"); }),
               {"/sources/3", "etc' is a symbolic link"});
  folder_.write("extra.h", std::string((1 << 20) + 1, ' '));
  expect_error(read(with_extra), {"/sources/3", "1048577 bytes", "1 MiB"});
  folder_.write("extra.h", "\x7f" "ELF\xff\xfe");
  expect_error(read(with_extra), {"/sources/3", "not UTF-8"});
  for (int i = 0; i < 9; ++i) {
    folder_.write("big" + std::to_string(i) + ".h", std::string((1 << 20) - 1, ' '));
  }
  expect_error(read([](Json& m) {
                 for (int i = 0; i < 9; ++i) {
                   m["sources"].push_back("big" + std::to_string(i) + ".h");
                 }
               }),
               {"/sources", "more than 8 MiB"});
}

TEST_F(SolutionFolder, FindsWhateverThePathIs) {
  ASSERT_TRUE(read());
  EXPECT_TRUE(read_solution(folder_.path()));
  EXPECT_TRUE(read_solution(folder_.path() / "solution.json"));
  const TemporaryFolder empty;
  expect_error(read_solution(empty.path()), {"no solution.json", "docs/solutions.md"});
  expect_error(read_solution(empty.path() / "x.json"), {"x.json"});
}

TEST_F(SolutionFolder, FitsItsSignatureAndItsFamily) {
  auto solution = read();
  ASSERT_TRUE(solution);
  const auto catalog = Catalog::builtin(definitions_folder());
  ASSERT_TRUE(catalog);
  const SignaturePtr norm = *catalog->find("rmsnorm_h4096");
  const SignaturePtr gemm = *catalog->find("gemm_n256_k256");
  EXPECT_TRUE(solution_fits(*solution, *norm));
  EXPECT_FALSE(solution_fits(*solution, *gemm));
  solution->definition = "rmsnorm_h4096";
  EXPECT_TRUE(solution_fits(*solution, *norm));
  solution->definition = "rmsnorm_h2048";
  EXPECT_FALSE(solution_fits(*solution, *norm));
}

TEST_F(SolutionFolder, KeysWhatCanChangeBehaviour) {
  const std::string key = solution_key(*read());
  EXPECT_EQ(key.size(), 64u);
  EXPECT_EQ(solution_key(*read([](Json& m) { m["license"] = "MIT"; })), key);
  EXPECT_EQ(solution_key(*read([](Json& m) { m["name"] = "other"; })), key);
  EXPECT_EQ(solution_key(*read([](Json& m) { std::swap(m["sources"][0], m["sources"][1]); })), key);
  EXPECT_NE(solution_key(*read([](Json& m) { m["flags"] = {"-DUNROLL=5"}; })), key);
  EXPECT_NE(solution_key(*read([](Json& m) { m["kernels"] = {"scale<1>"}; })), key);
  EXPECT_NE(solution_key(*read([](Json& m) { m["signature"] = "gemm"; })), key);
  Solution changed = *read();
  changed.sources[0].content += " ";
  EXPECT_NE(solution_key(changed), key);
}

TEST(ForeignSolution, ReadsTolerantlyAndIsKeptWhole) {
  const Json json = fixture("foreign_solution.json");
  const auto solution = solution_from_json(json, "s.json", Strictness::kTolerant);
  ASSERT_TRUE(solution) << solution.error().to_string();
  EXPECT_EQ(solution->language, SolutionLanguage::kTriton);
  EXPECT_EQ(solution->entry_point, "main.py::run");
  EXPECT_FALSE(solution->destination_passing_style);
  EXPECT_EQ(dump_json(solution_to_json(*solution)), dump_json(json));
  // SHA-1 of "rmsnorm_h4096" "triton" "main.py::run" "" "torch" "main.py" "def run(): ...\n".
  EXPECT_EQ(ecosystem_solution_hash(*solution), "76b1f7124e136fdbda566fd9813c9b7b569fd61b");
  const auto manifest = manifest_of(*solution);
  expect_error(manifest, {"s.json", "a triton solution needs the hosted runner"});
  EXPECT_EQ(manifest.error().code, ErrorCode::kUnsupported);
  const TemporaryFolder folder;
  EXPECT_FALSE(write_solution_folder(*solution, folder.path() / "x"));
}

TEST(ForeignSolution, SaysWhichBindingIsMissing) {
  Json json = fixture("foreign_solution.json");
  json["spec"]["language"] = "cuda";
  expect_error(manifest_of(*solution_from_json(json, "s", Strictness::kTolerant)),
               {"a cuda solution with the tvm-ffi binding needs the hosted runner"});
  json["spec"]["binding"] = "torch";
  expect_error(manifest_of(*solution_from_json(json, "s", Strictness::kTolerant)),
               {"a cuda solution with the torch binding"});
}

TEST(ForeignSolution, RefusesEachBrokenRuleByItsPlace) {
  struct Case {
    std::function<void(Json&)> change;
    std::vector<std::string_view> parts;
  };
  const Case cases[] = {
      {[](Json& j) { j.erase("author"); }, {"author"}},
      {[](Json& j) { j["sources"] = Json::array(); }, {"/sources", "at least one source"}},
      {[](Json& j) { j["sources"][0]["path"] = "../main.py"; },
       {"/sources/0/path", "leaves the solution"}},
      {[](Json& j) { j["sources"].push_back(j["sources"][0]); },
       {"/sources/1/path", "'main.py' is there twice"}},
      {[](Json& j) { j["sources"][0].erase("content"); }, {"/sources/0", "content"}},
      {[](Json& j) { j["spec"]["language"] = "rust"; },
       {"/spec/language", "no language 'rust'"}},
      {[](Json& j) { j["spec"]["target_hardware"] = Json::array(); }, {"/spec/target_hardware"}},
      {[](Json& j) { j["spec"]["entry_point"] = "main.py:run"; },
       {"/spec/entry_point", "'main.py:run' is not an entry point"}},
      {[](Json& j) { j["spec"]["entry_point"] = "a::b::c"; }, {"/spec/entry_point"}},
      {[](Json& j) { j["spec"]["entry_point"] = "x.py::run"; },
       {"/spec/entry_point", "'x.py' is not among the sources"}},
      {[](Json& j) { j["spec"]["binding"] = "pybind"; },
       {"/spec/binding", "no binding 'pybind'"}},
      {[](Json& j) { j["fib"] = 3; }, {"/fib"}},
  };
  for (const Case& test : cases) {
    Json json = fixture("foreign_solution.json");
    test.change(json);
    const auto solution = solution_from_json(json, "s.json", Strictness::kTolerant);
    ASSERT_FALSE(solution) << test.parts[0];
    const std::string text = solution.error().to_string();
    for (const auto part : test.parts) {
      EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in: " << text;
    }
  }
  expect_error(solution_from_json(fixture("foreign_solution.json"), "s.json", Strictness::kStrict),
               {"s.json", "origin"});
}

}  // namespace
}  // namespace fib
