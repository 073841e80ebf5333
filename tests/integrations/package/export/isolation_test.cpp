// Objects of one package that define the same inline functions differently.

#include <dlfcn.h>

#include <algorithm>
#include <set>

#include "harness/abi/fib/plan.h"
#include "integrations/package/export/object_file.h"
#include "integrations/package/export/solution_objects.h"
#include "tests/integrations/package/export/export_fixture.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

// What a header of a solution may well have: an inline function, a template, variables of both.
// None of it uses a register that some processor lacks, so every level runs here.
constexpr const char* kCounting = R"(
  #include <fib/cpu.h>
  #ifdef __AVX512F__
  constexpr int kLevel = 4000;
  #else
  constexpr int kLevel = 3000;
  #endif
  template <class T> struct Holder { static inline int value = kLevel; };
  [[gnu::noinline]] inline int count() { static int calls = 0; return ++calls; }
  [[gnu::noinline]] inline int level() { return kLevel + FIB_AXIS_hidden_size; }
  inline thread_local int last = 0;
  extern "C" int helper() { return level(); }
  extern "C" int fib_run(const FibCall*) { last = helper() + count(); return last + Holder<int>::value; }
  extern "C" size_t fib_workspace_bytes(const FibCall*) { return FIB_AXIS_hidden_size; })";

class IsolationTest : public testing::Test {
 protected:
  // All of it in one shared object, whose `entry` is exported.
  void* link(const std::vector<fs::path>& objects) {
    std::string command = "g++ -shared -o " + (folder_ / "all.so").string();
    for (const fs::path& object : objects) command += " " + object.string();
    const Finished linked = run(command);
    EXPECT_EQ(linked.code, 0) << linked.output;
    return ::dlopen((folder_ / "all.so").c_str(), RTLD_NOW | RTLD_LOCAL);
  }

  const SolutionObjects objects_ =
      must(SolutionObjects::open(package_options().abi, package_options().cache_folder));
  ScratchFolder folder_;
};

TEST_F(IsolationTest, EachLevelAndEachSignatureRunsItsOwnInlineFunctions) {
#ifndef __x86_64__
  GTEST_SKIP() << "the levels are x86-64's";
#endif
  const Solution solution = cpu_solution("counting", "rmsnorm", kCounting);
  struct Case {
    const char *signature, *level;
    int first;  // what the first call returns
  };
  const Case cases[] = {{"rmsnorm_h128", "x86-64-v3", 3000 + 128 + 1 + 3000},
                        {"rmsnorm_h128", "x86-64-v4", 4000 + 128 + 1 + 4000},
                        {"rmsnorm_h128", "x86-64-v4-bf16", 4000 + 128 + 1 + 4000},
                        {"rmsnorm_h128", "x86-64-v4-amx", 4000 + 128 + 1 + 4000},
                        {"rmsnorm_h256", "x86-64-v3", 3000 + 256 + 1 + 3000}};
  std::vector<CpuObject> made;
  std::vector<fs::path> files;
  for (const Case& c : cases) {
    const auto compiled = must(objects_.cpu(solution, *must(catalog().find(c.signature)), c.level));
    ASSERT_TRUE(compiled.made) << compiled.failure_log;
    made.push_back(*compiled.made);
    files.push_back(compiled.made->file);
    EXPECT_EQ(compiled.made->prepare, "");
    EXPECT_EQ(must(read_object_file(compiled.made->file)).visible,
              (std::set<std::string>{made.back().run, made.back().workspace_bytes}));
  }
  for (int order = 0; order < 2; ++order) {
    void* all = link(files);
    ASSERT_NE(all, nullptr) << ::dlerror();
    for (size_t i = 0; i < made.size(); ++i) {
      const auto entry = reinterpret_cast<int (*)(const void*)>(::dlsym(all, made[i].run.c_str()));
      ASSERT_NE(entry, nullptr) << made[i].run;
      EXPECT_EQ(entry(nullptr), cases[i].first) << cases[i].signature << " " << cases[i].level;
      EXPECT_EQ(entry(nullptr), cases[i].first + 1) << "its own static variables";
    }
    ::dlclose(all);
    std::reverse(files.begin(), files.end());  // whichever comes first
  }
}

TEST_F(IsolationTest, PlansToo) {
  Solution solution{.name = "planned",
                    .definition = "rmsnorm",
                    .author = "test",
                    .sources = {{"kernel.cu", "__global__ void k() {}"}, {"plan.cpp", R"(
                    #include <fib/plan.h>
                    inline int threads() { return FIB_AXIS_hidden_size; }
                    void plan_it(const fib::PlanProblem&, fib::Plan& plan) {
                      plan.launch("k").grid(1).block(threads());
                    }
                    FIB_EXPORT_PLAN(plan_it))"}},
                    .fib = {{"target", "cuda"},
                            {"entry", "kernel.cu"},
                            {"plan", "plan.cpp"},
                            {"kernels", {"k"}},
                            {"license", "MIT"}}};
  std::vector<fs::path> files;
  std::vector<std::string> symbols;
  for (const char* signature : {"rmsnorm_h128", "rmsnorm_h256"}) {
    const auto compiled = must(objects_.plan(solution, *must(catalog().find(signature))));
    ASSERT_TRUE(compiled.made) << compiled.failure_log;
    files.push_back(compiled.made->file);
    symbols.push_back(compiled.made->symbol);
  }
  void* all = link(files);
  ASSERT_NE(all, nullptr) << ::dlerror();
  uint32_t block = 0;
  const FibPlanSink sink{.context = &block,
                         .launch =
                             [](void* context, const FibPlanLaunch* launch) {
                               *static_cast<uint32_t*>(context) = launch->block[0];
                             },
                         .memset = nullptr,
                         .workspace = [](void*, uint64_t) {},
                         .prepared = [](void*, uint64_t) {},
                         .fail = nullptr};
  const FibPlanProblem problem{};
  for (size_t i = 0; i < symbols.size(); ++i) {
    const auto entry = reinterpret_cast<FibPlanEntry>(::dlsym(all, symbols[i].c_str()));
    ASSERT_NE(entry, nullptr);
    entry(&problem, &sink);
    EXPECT_EQ(block, i == 0 ? 128u : 256u);
  }
  ::dlclose(all);
}

TEST_F(IsolationTest, ObjectsAreKeyedByAllThatCanChangeThem) {
  const auto file_of = [&](const Solution& solution, const char* signature, const char* level) {
    auto compiled = must(objects_.cpu(solution, *must(catalog().find(signature)), level));
    return compiled.made ? compiled.made->file : fs::path(compiled.failure_log);
  };
  const Solution solution = cpu_solution("counting", "rmsnorm", kCounting);
  Solution commented = solution, flagged = solution;
  commented.sources[0].content += "// more\n";
  flagged.fib["flags"] = {"-DMORE=1"};
  const std::set<fs::path> files = {
      file_of(solution, "rmsnorm_h128", "native"), file_of(solution, "rmsnorm_h256", "native"),
      file_of(commented, "rmsnorm_h128", "native"), file_of(flagged, "rmsnorm_h128", "native")};
  EXPECT_EQ(files.size(), 4u);
  EXPECT_TRUE(files.contains(file_of(solution, "rmsnorm_h128", "native"))) << "found again";
}

TEST_F(IsolationTest, ADamagedObjectIsNoObject) {
  const fs::path file = folder_ / "x.o";
  for (const std::string& content : {std::string(),
                                     std::string("\x7f"
                                                 "ELF"),
                                     std::string(4096, 'x')}) {
    must(write_file_atomically(file, content));
    const auto object = read_object_file(file);
    ASSERT_FALSE(object);
    EXPECT_THAT(object.error().to_string(), testing::HasSubstr("no whole 64-bit ELF object"));
  }
  const auto compiled = must(objects_.cpu(cpu_solution("counting", "rmsnorm", kCounting),
                                          *must(catalog().find("rmsnorm_h128")), "native"));
  const std::string whole = must(read_file(compiled.made->file));
  must(write_file_atomically(file, whole.substr(0, whole.size() / 2)));
  EXPECT_FALSE(read_object_file(file));
}

}  // namespace
}  // namespace fib
