// Packages on a card: served from and exchanged while steps are graphs.

#include <gmock/gmock.h>

#include "integrations/package/export/default_package.h"
#include "integrations/package/package_dispatch.h"
#include "integrations/package/swappable_dispatch.h"
#include "tests/integrations/serving/model/asked_engine.h"
#include "tests/integrations/serving/model/hooked_dispatch.h"

namespace fib {
namespace {

constexpr int kRounds = 60;

class CudaSwap : public testing::Test {
 protected:
  void SetUp() override {
    auto device = open_cuda_device(0);
    if (!device) GTEST_SKIP() << device.error().to_string();
    device_ = std::move(*device);
    std::mt19937_64 random(5);
    for (const size_t length : {3, 40, 130}) {
      questions_.push_back(
          {.prompt = random_prompt(random, length),
           .sampling = {.max_tokens = 60, .temperature = 0.0f, .ignore_eos = true}});
    }
  }

  static Result<PackageLibraryPtr> open_package(const ServingDevice& device) {
    const HouseDispatchOptions house = house_options();
    const ModelConfig config = FIB_TRY(read_model_config(kTinyModel));
    return open_default_package(
        package_target(device.info()), model_signatures(config, ExecutorOptions{}.page_size),
        {.definitions = house.definitions,
         .solutions = house.solutions,
         .folder = std::filesystem::path(FIB_BINARY_DIR) / "serving-test-packages",
         .build = {.abi = house.abi,
                   .c_header = kSource / "integrations/package/include/fib_kernels.h",
                   .table_header = kSource,
                   .runtime_archive = FIB_RUNTIME_ARCHIVE,
                   .device_sources = house.device_sources,
                   .cache_folder = house.cache_folder,
                   .worker_executable = house.worker_executable,
                   .threads = 4,
                   .fib_version = "0.0.0-test"}},
        nullptr);
  }
  static Result<std::unique_ptr<Dispatch>> open(ServingDevice& device) {
    return open_package_dispatch(device, FIB_TRY(open_package(device)),
                                 {.house = house_options(),
                                  .missing = PackageDispatchOptions::Missing::kIsError,
                                  .note = {}});
  }
  static std::unique_ptr<ModelExecutor> load(Dispatch& dispatch) {
    return load_model(dispatch, {.folder = kTinyModel},
                      {.max_positions = 640,
                       .max_step_tokens = 2048,
                       .max_decode_rows = 32,
                       .kv_bytes = size_t{64} << 20},
                      {})
        .value();
  }
  static std::unique_ptr<Engine> start(ModelExecutor& executor) {
    return Engine::start(executor, {.max_decode_rows = 32, .has_prefix_cache = false}).value();
  }
  // One by one, because a batch's answers depend on who else is in it.
  std::vector<Answer> ask_all(Engine& engine) { return ask_one_by_one(engine, questions_); }

  // From a package to the same package with a hook, while it is asked.
  SwapStatus exchange(HookedDispatch::Hook hook) {
    SwappableDispatch dispatch(open(*device_).value(), "first",
                               {.shadow_steps = 32, .watch_steps = 64});
    const auto executor = load(dispatch);
    const auto engine = start(*executor);
    const std::vector<Answer> wanted = ask_all(*engine);
    EXPECT_TRUE(dispatch.begin_loading("second"));
    dispatch.propose([this, hook]() -> Result<std::unique_ptr<Dispatch>> {
      return std::make_unique<HookedDispatch>(FIB_TRY(open(*device_)), hook);
    });
    engine->wake();
    SwapStatus status;
    for (int round = 0; round < kRounds; ++round) {
      expect_same(ask_all(*engine), wanted);
      status = dispatch.status();
      if (status.state == SwapState::kServing && status.switched > 0) break;
      if (status.state == SwapState::kRolledBack) break;
    }
    engine->drain();
    EXPECT_EQ(engine->stats().failed, 0u);
    return status;
  }

  std::unique_ptr<ServingDevice> device_;
  std::vector<Question> questions_;
};

TEST_F(CudaSwap, APackageAnswersAsTheHouseDoes) {
  const auto house = open_house_dispatch(*device_, house_options()).value();
  const auto house_executor = load(*house);
  const std::vector<Answer> wanted = ask_all(*start(*house_executor));
  auto package = open(*device_);
  ASSERT_TRUE(package) << package.error().to_string();
  const auto executor = load(**package);
  expect_same(ask_all(*start(*executor)), wanted);
}

TEST_F(CudaSwap, RightKernelsTakeOver) {
  const SwapStatus status =
      exchange([](Kernel& kernel, const KernelCall& call) { return kernel.run(call); });
  EXPECT_EQ(status.state, SwapState::kServing) << status.reason;
  EXPECT_EQ(status.package, "second");
}

TEST_F(CudaSwap, WrongNumbersNeverServe) {
  for (const std::string wrong : {"rmsnorm", "gqa_paged_decode", "moe_int4"}) {
    SCOPED_TRACE(wrong);
    const SwapStatus status = exchange([&](Kernel& kernel, const KernelCall& call) -> Result<void> {
      FIB_CHECK(kernel.run(call));
      if (!kernel.signature().name.starts_with(wrong)) return {};
      return device_->fill(call.outputs[0].data, 0x3F, 2);  // the first bfloat16: 0.75
    });
    EXPECT_EQ(status.state, SwapState::kRolledBack);
    EXPECT_THAT(status.reason, testing::HasSubstr(wrong));
  }
}

}  // namespace
}  // namespace fib
