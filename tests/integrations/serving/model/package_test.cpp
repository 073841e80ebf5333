// The bundled model on kernel packages: the bits of the house's solutions, exchanges of real
// packages under load, and packages that are wrong, damaged or not whole.

#include <gmock/gmock.h>

#include <fstream>
#include <semaphore>

#include "integrations/package/export/default_package.h"
#include "integrations/package/export/house_spec.h"
#include "integrations/package/package_dispatch.h"
#include "integrations/package/package_swap.h"
#include "signatures/base/file.h"
#include "tests/integrations/serving/model/asked_engine.h"
#include "tests/scratch_folder.h"

namespace fib {
namespace {

using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int kRounds = 60;  // of asking, by when an exchange has come to its end

// The value, or the test fails with the error's words.
template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().to_string());
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

DefaultPackageOptions package_options() {
  const HouseDispatchOptions house = house_options();
  return {.definitions = house.definitions,
          .solutions = house.solutions,
          .folder = std::filesystem::path(FIB_BINARY_DIR) / "serving-test-packages",
          .build = {.abi = house.abi,
                    .c_header = kSource / "integrations/package/include/fib_kernels.h",
                    .table_header = kSource,
                    .runtime_archive = FIB_RUNTIME_ARCHIVE,
                    .device_sources = house.device_sources,
                    .cache_folder = house.cache_folder,
                    .worker_executable = house.worker_executable,
                    .threads = 2,
                    .fib_version = "0.0.0-test"}};
}

class OnPackages : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    device_ = must(open_cpu_device(2)).release();
    const ModelConfig config = must(read_model_config(kTinyModel));
    requests_ =
        new std::vector<SignatureRequest>(model_signatures(config, ExecutorOptions{}.page_size));
    package_ = new PackageLibraryPtr(
        must(open_default_package({"cpu", "native"}, *requests_, package_options(), nullptr)));
    const auto house = open_house();
    const auto executor = load(*house);
    wanted_ = new std::vector<Answer>(ask_one_by_one(*start(*executor), questions()));
  }
  static void TearDownTestSuite() {
    delete std::exchange(wanted_, nullptr);
    delete std::exchange(package_, nullptr);
    delete std::exchange(requests_, nullptr);
    delete std::exchange(device_, nullptr);
  }

  static const std::vector<Question>& questions() {
    static const std::vector<Question> all = mixed_questions();
    return all;
  }
  // Alone in its steps it calls argmax, thirty times.
  static Question greedy() {
    Question question = questions()[0];
    question.sampling = {.max_tokens = 30, .temperature = 0.0f, .ignore_eos = true};
    return question;
  }
  static std::unique_ptr<Dispatch> open_house() {
    return must(open_house_dispatch(*device_, house_options()));
  }
  static std::unique_ptr<Dispatch> open_package(const PackageLibraryPtr& package,
                                                std::vector<std::string>* notes = nullptr) {
    return must(open_package_dispatch(
        *device_, package, {.house = house_options(), .note = [notes](std::string_view note) {
                              if (notes != nullptr) notes->emplace_back(note);
                            }}));
  }
  static std::unique_ptr<ModelExecutor> load(Dispatch& dispatch) {
    return must(load_model(dispatch, {.folder = kTinyModel},
                           {.max_positions = 640,
                            .max_step_tokens = 2048,
                            .max_decode_rows = 32,
                            .kv_bytes = size_t{16} << 20},
                           {}));
  }
  static std::unique_ptr<Engine> start(ModelExecutor& executor) {
    return must(Engine::start(executor, {.max_decode_rows = 32,
                                         .has_prefix_cache = false,
                                         .eos_tokens = executor.config().eos_tokens}));
  }

  // A package of these signatures, served by the house, or by `code`.
  std::filesystem::path build(const std::string& name, std::vector<SignatureRequest> requests,
                              const std::string& code = "") {
    const DefaultPackageOptions options = package_options();
    const Catalog catalog = must(Catalog::builtin(options.definitions));
    const HouseSolutions house = must(HouseSolutions::read(options.solutions, "cpu"));
    PackageSpec spec = must(house_package_spec(requests, catalog, house));
    spec.version = "1";
    spec.cpu_levels = {"native"};
    for (PackagedSignature& packaged : spec.signatures) {
      if (code.empty()) continue;
      packaged.solutions = {
          {.name = "mine",
           .definition = packaged.signature->name,
           .author = "test",
           .language = SolutionLanguage::kCpp,
           .target_hardware = {"cpu"},
           .entry_point = "solution.cpp::fib_run",
           .sources = {{"solution.cpp", code}},
           .fib = {{"target", "cpu"}, {"entry", "solution.cpp"}, {"license", "MIT"}}}};
      packaged.cpu_fallback = {0};
    }
    must(build_package(spec, options.build, folder_ / name, nullptr));
    return folder_ / name;
  }
  PackageLibraryPtr library(const std::filesystem::path& package) {
    return must(PackageLibrary::open(package, folder_ / "unpacked"));
  }
  static SignatureRequest request(const std::string& beginning) {
    for (const SignatureRequest& request : *requests_) {
      if (request.name.starts_with(beginning)) return request;
    }
    throw std::logic_error(beginning);
  }

  // Serves with the house's kernels and exchanges them for the package while it is asked.
  SwapStatus exchange_for(const std::filesystem::path& package,
                          std::initializer_list<SwapState> until) {
    SwappableDispatch dispatch(open_house(), "house", {.shadow_steps = 8, .watch_steps = 24});
    const auto executor = load(dispatch);
    const auto engine = start(*executor);
    PackageSwap swap(dispatch, {.house = house_options(),
                                .unpack_folder = folder_ / "unpacked",
                                .wake = [&engine] { engine->wake(); }});
    must(swap.begin(package));
    SwapStatus status;
    for (int round = 0; round < kRounds; ++round) {
      expect_same(ask(*engine, questions()), *wanted_);
      status = dispatch.status();
      if (std::find(until.begin(), until.end(), status.state) != until.end()) break;
    }
    EXPECT_THAT(until, testing::Contains(status.state)) << swap_state_name(status.state);
    // argmax follows: whether the others' steps call it often enough depends on who shares them.
    ask(*engine, {greedy()});
    status = dispatch.status();
    engine->drain();
    EXPECT_EQ(engine->stats().failed, 0u);
    return status;
  }

  static inline ServingDevice* device_ = nullptr;
  static inline std::vector<SignatureRequest>* requests_ = nullptr;  // of the model
  static inline PackageLibraryPtr* package_ = nullptr;               // the default one
  static inline std::vector<Answer>* wanted_ = nullptr;              // of the house
  ScratchFolder folder_;
};

TEST_F(OnPackages, AnswersHaveTheBitsOfTheHouse) {
  std::vector<std::string> notes;
  const auto dispatch = open_package(*package_, &notes);
  const auto executor = load(*dispatch);
  const auto engine = start(*executor);
  expect_same(ask(*engine, questions()), *wanted_);
  ask(*engine, {greedy()});
  EXPECT_THAT(notes, IsEmpty()) << "the package has all of the model's signatures";
  // The same solutions, by name.
  const auto house = open_house();
  for (const SignatureRequest& request : *requests_) {
    EXPECT_EQ(must(dispatch->resolve(request))->solution(),
              must(house->resolve(request))->solution());
  }
}

TEST_F(OnPackages, TheDefaultPackageIsBuiltOnce) {
  const PackageProgress never = [](size_t, size_t, std::string_view what) {
    ADD_FAILURE() << what << " is built again";
  };
  DefaultPackageOptions options = package_options();
  const auto again = must(open_default_package({"cpu", "native"}, *requests_, options, never));
  EXPECT_EQ(again->path(), (*package_)->path());
  // Shipped ones come first.
  std::swap(options.shipped.emplace_back(), options.folder);
  options.folder = folder_ / "empty";
  EXPECT_EQ(must(open_default_package({"cpu", "native"}, *requests_, options, never))->path(),
            (*package_)->path());
  // Other signatures make another package.
  const auto other = must(
      open_default_package({"cpu", "native"}, {request("rmsnorm")}, package_options(), nullptr));
  EXPECT_NE(other->path(), (*package_)->path());
}

TEST_F(OnPackages, WhatAPackageLacksTheHouseServes) {
  std::vector<std::string> notes;
  const auto dispatch =
      open_package(library(build("partial", {request("rmsnorm"), request("moe_int4")})), &notes);
  const auto executor = load(*dispatch);
  expect_same(ask(*start(*executor), questions()), *wanted_);
  EXPECT_EQ(notes.size(), requests_->size() - 2);
  EXPECT_THAT(notes, Each(HasSubstr("serves it")));
}

TEST_F(OnPackages, WhatTheHouseLendsIsNotThePackages) {
  SwappableDispatch dispatch(open_package(library(build("norms", {request("rmsnorm")}))), "norms",
                             {});
  must(dispatch.resolve(request("rmsnorm")));
  must(dispatch.resolve(request("argmax")));
  const SwapStatus status = dispatch.status();
  EXPECT_EQ(status.package, "norms");
  ASSERT_EQ(status.signatures.size(), 2u);
  EXPECT_EQ(status.signatures[0].package, "norms");
  EXPECT_EQ(status.signatures[1].package, "house") << "the package has no such signature";
}

TEST_F(OnPackages, WithoutTheHouseASignatureIsMissing) {
  const auto dispatch =
      must(open_package_dispatch(*device_, library(build("one", {request("rmsnorm")})),
                                 {.house = house_options(),
                                  .missing = PackageDispatchOptions::Missing::kIsError,
                                  .note = {}}));
  ASSERT_TRUE(dispatch->resolve(request("rmsnorm")));
  const auto missing = dispatch->resolve(request("argmax"));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  SignatureRequest other = request("rmsnorm");
  other.parameters["eps"] = 0.5;
  EXPECT_FALSE(dispatch->resolve(other)) << "it was built with another eps";
}

TEST_F(OnPackages, ARightPackageTakesOver) {
  const std::filesystem::path path = (*package_)->path();
  const SwapStatus status = exchange_for(path, {SwapState::kServing, SwapState::kRolledBack});
  EXPECT_EQ(status.state, SwapState::kServing) << status.reason;
  EXPECT_EQ(status.package, std::filesystem::weakly_canonical(path).string());
  for (const SwappedSignature& signature : status.signatures) {
    EXPECT_EQ(signature.package, status.package) << signature.signature;
  }
}

// What takes milliseconds is done when the engine's thread is told: definitions that are gone by
// then aren't missed, and neither is the package.
TEST_F(OnPackages, IsLoadedBesideTheEngine) {
  namespace fs = std::filesystem;
  const fs::path package = build("norms", {request("rmsnorm")});
  HouseDispatchOptions house = house_options();
  fs::copy(house.definitions, folder_ / "definitions", fs::copy_options::recursive);
  house.definitions = folder_ / "definitions";
  SwappableDispatch dispatch(open_house(), "house", {});
  must(dispatch.resolve(request("rmsnorm")));
  std::binary_semaphore is_loaded(0);
  PackageSwap swap(dispatch, {.house = house, .unpack_folder = folder_ / "unpacked", .wake = [&] {
                                is_loaded.release();
                              }});
  must(swap.begin(package));
  is_loaded.acquire();
  fs::remove_all(house.definitions);
  fs::remove_all(package);
  while (dispatch.tend()) {
  }
  EXPECT_EQ(dispatch.status().state, SwapState::kShadowing) << dispatch.status().reason;
}

TEST_F(OnPackages, AWrongPackageIsTakenBack) {
  // Forgets to divide by the root mean square.
  const auto wrong = build("wrong", {request("rmsnorm"), request("fused_add_rmsnorm")},
                           R"(#include <fib/cpu.h>
#include <string.h>
extern "C" int fib_run(const FibCall* call) {
  for (int i = 0; i < call->num_outputs; ++i) {
    int64_t count = 2;
    for (int d = 0; d < call->outputs[i].ndim; ++d) count *= call->outputs[i].shape[d];
    memcpy(call->outputs[i].data, call->inputs[0].data, count);
  }
  return 0;
}
)");
  const SwapStatus status = exchange_for(wrong, {SwapState::kServing, SwapState::kRolledBack});
  EXPECT_EQ(status.state, SwapState::kRolledBack);
  EXPECT_THAT(status.reason, HasSubstr("rmsnorm"));
  EXPECT_THAT(status.reason, HasSubstr("'mine'"));
  EXPECT_EQ(status.package, "house");
}

TEST_F(OnPackages, ADamagedPackageIsRefused) {
  const auto damaged = build("damaged", {request("rmsnorm")});
  std::ofstream(damaged / "share/fib_kernels/manifest.json", std::ios::app) << " ";
  const SwapStatus status = exchange_for(damaged, {SwapState::kServing, SwapState::kRolledBack});
  EXPECT_EQ(status.state, SwapState::kRolledBack);
  EXPECT_THAT(status.reason, HasSubstr("manifest.json"));
}

TEST_F(OnPackages, APackageThatIsNotThereIsRefusedAtOnce) {
  SwappableDispatch dispatch(open_house(), "house", {});
  PackageSwap swap(
      dispatch, {.house = house_options(), .unpack_folder = folder_ / "unpacked", .wake = [] {}});
  const auto missing = swap.begin(folder_ / "nowhere");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(dispatch.status().state, SwapState::kServing);
}

}  // namespace
}  // namespace fib
