// A card that hangs, and times on its queue, on one made of host memory.

#include "integrations/package/cuda_device.h"

#include "integrations/package/taps.h"
#include "tests/integrations/package/fake_card.h"
#include "tests/integrations/package/package_fixture.h"

namespace fib {
namespace {

using testing::ElementsAre;
using testing::Pair;

// Passes at once on a card that hangs for good.
constexpr double kShortTimeoutS = 1e-4;

class CudaDeviceTest : public testing::Test {
 protected:
  FakeCard card_;
  std::unique_ptr<CudaDevice> device_ =
      std::make_unique<CudaDevice>(must(DeviceContext::open(card_.driver(), 0)), kShortTimeoutS);
};

TEST_F(CudaDeviceTest, ACardThatHangsIsLost) {
  const DeviceArray array = must(device_->allocate(64));
  must(device_->fill(array.data(), 0, 64));
  must(device_->synchronize());
  card_.is_hung = true;
  const auto waited = device_->synchronize();
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().code, ErrorCode::kWorkerLost);
  EXPECT_EQ(waited.error().to_string(),
            "Fake Card: the card did not finish a step in 0.0001 s: a kernel hangs (restart; if it "
            "was only slow, with a longer step timeout)");
}

TEST_F(CudaDeviceTest, NothingWaitsForALostCard) {
  std::unique_ptr<DeviceGraph> graph = must(device_->capture([] { return Result<void>(); }));
  auto array = std::make_unique<DeviceArray>(must(device_->allocate(64)));
  auto host = std::make_unique<HostArray>(must(device_->allocate_host(64)));
  card_.is_hung = true;
  ASSERT_FALSE(device_->synchronize());

  const auto expect_lost = [](const auto& result) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::kWorkerLost) << result.error().to_string();
  };
  expect_lost(device_->synchronize());
  expect_lost(device_->upload(array->data(), host->data(), 64));
  expect_lost(device_->download(host->data(), array->data(), 64));
  expect_lost(device_->allocate(64));
  expect_lost(graph->launch());
  expect_lost(device_->capture([] { return Result<void>(); }));
  std::thread([&] { expect_lost(device_->fill(array->data(), 0, 64)); }).join();

  graph.reset();
  array.reset();
  host.reset();
  device_.reset();
  EXPECT_EQ(card_.waits, 0);
}

TEST_F(CudaDeviceTest, WaitingIsCounted) {
  EXPECT_EQ(device_->waited_ns(), 0.0);
  must(device_->synchronize());
  const double once = *device_->waited_ns();
  EXPECT_GT(once, 0.0);
  card_.is_hung = true;
  ASSERT_FALSE(device_->synchronize());
  EXPECT_GE(*device_->waited_ns() - once, 1e9 * kShortTimeoutS);
  EXPECT_FALSE(must(open_cpu_device(1))->waited_ns()) << "there calls are done when they return";
}

TEST_F(CudaDeviceTest, AHealthyCardIsFreedOfEverything) {
  { const DeviceArray array = must(device_->allocate(64)); }
  EXPECT_EQ(card_.allocated_bytes, 0u);
  device_.reset();
}

// Takes so many milliseconds on a FakeCard.
class SlowKernel final : public Kernel {
 public:
  SlowKernel(ServingDevice& device, std::string name, int fills)
      : device_(device), name_(std::move(name)), fills_(fills) {}
  const Signature& signature() const override { return *signature_; }
  std::string_view solution() const override { return name_; }
  Result<void> run(const KernelCall&) override {
    for (int i = 0; i < fills_; ++i) FIB_CHECK(device_.fill(nullptr, 0, 0));
    return {};
  }
  Result<std::unique_ptr<PreparedWeights>> prepare(std::span<const Operand>) override {
    return std::unique_ptr<PreparedWeights>();
  }

 private:
  ServingDevice& device_;
  const std::string name_;
  const int fills_;
  const SignaturePtr signature_ = must(catalog().find("rmsnorm_h256"));
};

class TimingTap : public CallTap {
 public:
  void on_call(const Kernel&, const KernelCall&, double) override { ++num_calls; }
  void on_device_time(const Kernel& kernel, const KernelCall&, double device_ns) override {
    times_ms.emplace_back(kernel.solution(), device_ns / 1e6);
  }
  int num_calls = 0;
  std::vector<std::pair<std::string, double>> times_ms;
};

class CallTiming : public CudaDeviceTest {
 protected:
  CallTiming() { taps_.add(tap_); }
  Result<void> time_calls(const std::function<Result<void>()>& work) {
    return taps_.time_calls(*device_, [&]() -> Result<void> {
      FIB_CHECK(work());
      return device_->synchronize();
    });
  }
  std::unique_ptr<DeviceGraph> capture() {
    return must(taps_.capture(*device_, [&]() -> Result<void> {
      FIB_CHECK(three_.run({}));
      FIB_CHECK(device_->fill(nullptr, 0, 0));  // nobody's time
      return one_.run({});
    }));
  }

  TapList taps_;
  TimingTap tap_;
  TappedKernel one_{std::make_unique<SlowKernel>(*device_, "one", 1), taps_};
  TappedKernel three_{std::make_unique<SlowKernel>(*device_, "three", 3), taps_};
};

TEST_F(CallTiming, OfCallsMadeWithin) {
  must(one_.run({}));
  must(time_calls([&]() -> Result<void> {
    FIB_CHECK(three_.run({}));
    FIB_CHECK(device_->fill(nullptr, 0, 0));
    return one_.run({});
  }));
  must(three_.run({}));
  EXPECT_THAT(tap_.times_ms, ElementsAre(Pair("three", 3.0), Pair("one", 1.0)));
  EXPECT_EQ(tap_.num_calls, 4);
  const int events = card_.events;
  must(time_calls([&] { return one_.run({}); }));
  EXPECT_EQ(card_.events, events) << "they are used again";
  EXPECT_THAT(tap_.times_ms.back(), Pair("one", 1.0));
}

// A step whose second call reads what its first one computed on the card.
class ComputedInputs : public CudaDeviceTest {
 protected:
  struct Seen {
    bool is_late = false;
    int32_t value = 0;
  };
  class Watcher final : public CallTap {
   public:
    Watcher(bool waits, const bool& is_done) : waits_(waits), is_done_(is_done) {}
    void on_call(const Kernel&, const KernelCall& call, double) override {
      const auto* const value = static_cast<const int32_t*>(call.inputs[0].host);
      seen.push_back({is_done_, value != nullptr ? *value : -1});
    }
    bool wants_computed() const override { return waits_; }
    std::vector<Seen> seen;

   private:
    const bool waits_;
    const bool& is_done_;
  };

  ComputedInputs() {
    input_.host_at_end = &at_end_;
    taps_.add(at_once_);
    taps_.add(waiting_);
  }
  Result<void> call() { return kernel_.run({.inputs = {&input_, 1}}); }
  // What `work` enqueues computes this value.
  Result<void> step(int32_t value, const std::function<Result<void>()>& work) {
    is_done_ = false;
    return taps_.run_step([&]() -> Result<void> {
      FIB_CHECK(work());
      at_end_ = value;
      is_done_ = true;
      return device_->synchronize();
    });
  }
  static std::vector<int32_t> values(const Watcher& watcher) {
    std::vector<int32_t> values;
    for (const Seen& seen : watcher.seen) values.push_back(seen.value);
    return values;
  }

  TapList taps_;
  int32_t at_end_ = 0;
  bool is_done_ = false;
  Watcher at_once_{false, is_done_}, waiting_{true, is_done_};
  Operand input_ = Operand::tensor(nullptr, {1});
  TappedKernel kernel_{std::make_unique<SlowKernel>(*device_, "any", 1), taps_};
};

TEST_F(ComputedInputs, AreShownWhenTheStepIsDone) {
  must(step(7, [&] { return call(); }));
  must(step(8, [&]() -> Result<void> {
    FIB_CHECK(call());
    return call();
  }));
  EXPECT_THAT(values(waiting_), ElementsAre(7, 8, 8));
  EXPECT_THAT(values(at_once_), ElementsAre(-1, -1, -1)) << "who doesn't ask gets none";
  for (const Seen& seen : waiting_.seen) EXPECT_TRUE(seen.is_late);
  for (const Seen& seen : at_once_.seen) EXPECT_FALSE(seen.is_late);
}

TEST_F(ComputedInputs, AreThoseOfEachLaunchOfAGraph) {
  const auto graph = must(taps_.capture(*device_, [&] { return call(); }));
  EXPECT_TRUE(waiting_.seen.empty());
  must(step(3, [&] { return graph->launch(); }));
  must(step(4, [&] { return graph->launch(); }));
  EXPECT_THAT(values(waiting_), ElementsAre(3, 4));
}

TEST_F(ComputedInputs, OfAStepThatFailsAreNotShown) {
  const auto failed = step(5, [&]() -> Result<void> {
    FIB_CHECK(call());
    return fail(ErrorCode::kEnvironment, "the step's own trouble");
  });
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message, "the step's own trouble");
  must(step(6, [&] { return call(); }));
  EXPECT_THAT(values(waiting_), ElementsAre(6));
  EXPECT_EQ(at_once_.seen.size(), 2u);
}

TEST_F(ComputedInputs, AreWaitedForWithinStepsAlone) {
  EXPECT_TRUE(taps_.wants_computed());
  must(call());
  EXPECT_THAT(values(waiting_), ElementsAre(-1)) << "outside of a step nobody brings them";
  Operand known = input_;
  const int32_t value = 9;
  known.host = &value;
  known.host_at_end = nullptr;
  must(step(0, [&] { return kernel_.run({.inputs = {&known, 1}}); }));
  EXPECT_FALSE(waiting_.seen.back().is_late) << "nothing is to come";
  taps_.remove(waiting_);
  EXPECT_FALSE(taps_.wants_computed());
}

TEST_F(CallTiming, OfAGraphCapturedWithin) {
  std::unique_ptr<DeviceGraph> graph;
  must(time_calls([&]() -> Result<void> {
    graph = capture();
    FIB_CHECK(graph->launch());
    return one_.run({});
  }));
  EXPECT_THAT(tap_.times_ms, testing::UnorderedElementsAre(Pair("three", 3.0), Pair("one", 1.0),
                                                           Pair("one", 1.0)));
  tap_.times_ms.clear();
  must(graph->launch());
  EXPECT_THAT(tap_.times_ms, testing::IsEmpty()) << "nobody asked";
  must(time_calls([&] { return graph->launch(); }));
  EXPECT_THAT(tap_.times_ms, ElementsAre(Pair("three", 3.0), Pair("one", 1.0)));
  EXPECT_EQ(tap_.num_calls, 7);
}

TEST_F(CallTiming, AGraphCapturedBeforeCostsAndTellsNothing) {
  const auto graph = capture();
  EXPECT_EQ(card_.events, 0);
  must(time_calls([&] { return graph->launch(); }));
  EXPECT_THAT(tap_.times_ms, testing::IsEmpty());
  EXPECT_EQ(tap_.num_calls, 2);
}

TEST_F(CallTiming, WorkThatFailsTellsNothing) {
  const auto failed = time_calls([&]() -> Result<void> {
    FIB_CHECK(one_.run({}));
    return fail(ErrorCode::kEnvironment, "the work's own trouble");
  });
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message, "the work's own trouble");
  EXPECT_THAT(tap_.times_ms, testing::IsEmpty());
  must(one_.run({}));
  EXPECT_THAT(tap_.times_ms, testing::IsEmpty()) << "no longer timed";
}

TEST_F(CallTiming, EventsGoWithTheirGraph) {
  {
    std::unique_ptr<DeviceGraph> graph;
    must(time_calls([&]() -> Result<void> {
      graph = capture();
      return graph->launch();
    }));
    EXPECT_EQ(card_.events, 4);
  }
  EXPECT_EQ(card_.events, 0);
}

TEST(CudaDevices, ATimeoutMustBeATime) {
  for (const double wrong : {0.0, -1.0, std::nan("")}) {
    const auto refused = open_cuda_device(0, wrong);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidInput);
  }
}

}  // namespace
}  // namespace fib
