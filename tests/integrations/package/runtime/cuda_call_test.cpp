// Calls on a card that only notes them: what kernels are given, and when plans are made.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <thread>

#include "integrations/package/runtime/cuda_target.h"
#include "integrations/package/runtime/device.h"
#include "tests/integrations/package/runtime/allocations.h"
#include "tests/integrations/package/runtime/recording_driver.h"
#include "tests/integrations/package/runtime/small_package.h"
#include "tests/integrations/package/runtime/waits.h"

namespace fib::package {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

fib_kernels_device* open_on(const RecordingDriver& card) {
  auto target = open_cuda_target(card.driver(), 0);
  if (!target) throw std::runtime_error(target.error().to_string());
  auto device = Device::open(fib_kernels_table, *std::move(target));
  if (!device) throw std::runtime_error(device.error().to_string());
  return device->release();
}

uint64_t word(const void* address) { return reinterpret_cast<uint64_t>(address); }
uint32_t low(uint64_t argument) { return static_cast<uint32_t>(argument); }
uint32_t bits(float value) { return std::bit_cast<uint32_t>(value); }

class CudaCall : public testing::Test {
 protected:
  // The same call, its tensors on the card.
  static void move(ScaleCall& call) {
    for (fib_kernels_tensor& input : call.inputs) input.device = {kFibKernelsCuda, 0};
    call.outputs[0].device = {kFibKernelsCuda, 0};
    call.call.stream = reinterpret_cast<void*>(0x5eed);
  }
  RecordedLaunch launch(ScaleCall& call) {
    card.launches.clear();
    EXPECT_EQ(fib_kernels_launch(op, &call.call), FIB_KERNELS_OK) << fib_kernels_last_error();
    return card.launches.empty() ? RecordedLaunch{} : card.launches.back();
  }

  RecordingDriver card;
  OpenPackage package{open_on(card)};
  const fib_kernels_op* op = package.find();
};

TEST_F(CudaCall, GivesKernelsTheAddressesOfTheCall) {
  EXPECT_STREQ(fib_kernels_hardware(package.device), kFakeCard);
  EXPECT_EQ(fib_kernels_has_winners(package.device), 1);
  ScaleCall first(3), second(3);
  move(first);
  move(second);
  const int plans = counters.plans;
  for (ScaleCall* call : {&first, &second, &first}) {
    const RecordedLaunch launched = launch(*call);
    ASSERT_EQ(card.launches.size(), 1u);
    EXPECT_EQ(launched.symbol, "fast_4");
    EXPECT_EQ(launched.grid, 103u);
    EXPECT_EQ(launched.stream, reinterpret_cast<CUstream>(0x5eed));
    ASSERT_EQ(launched.arguments.size(), 6u);
    EXPECT_EQ(launched.arguments[0], word(call->inputs[0].data) + 16);
    EXPECT_EQ(launched.arguments[1], word(call->inputs[1].data));
    EXPECT_EQ(launched.arguments[2], word(call->outputs[0].data));
    EXPECT_EQ(launched.arguments[3], word(call->call.workspace));
    EXPECT_EQ(low(launched.arguments[4]), bits(2.0f));
    EXPECT_EQ(low(launched.arguments[5]), 3u);
  }
  EXPECT_EQ(counters.plans - plans, 1);
}

TEST_F(CudaCall, RawCallsAreTheSame) {
  ScaleCall call(3);
  fib_kernels_raw_call raw = call.raw();
  ASSERT_EQ(fib_kernels_launch_raw(op, &raw), FIB_KERNELS_OK);
  EXPECT_EQ(card.launches.back().arguments[0], word(call.raw_inputs[0]) + 16);
}

TEST_F(CudaCall, PlansFollowScalarsAndHostCopies) {
  ScaleCall call(3);
  move(call);
  EXPECT_EQ(launch(call).grid, 103u);  // for all that could be
  call.call.host_inputs = call.host_inputs.data();
  EXPECT_EQ(launch(call).grid, 4u);  // the last value and one

  const int plans = counters.plans;
  const std::vector<int32_t> same = {0, 1, 2, 3}, other = {0, 1, 2, 9};
  call.host_inputs[3] = same.data();
  EXPECT_EQ(launch(call).grid, 4u);
  EXPECT_EQ(counters.plans, plans);
  call.host_inputs[3] = other.data();
  EXPECT_EQ(launch(call).grid, 10u);
  EXPECT_EQ(counters.plans - plans, 1);
  call.scalars[2] = 0.5;
  EXPECT_EQ(low(launch(call).arguments[4]), bits(0.5f));
  EXPECT_EQ(counters.plans - plans, 2);
}

TEST_F(CudaCall, APlanThatRefusesAShapeIsPassedOver) {
  ScaleCall call(7);
  move(call);
  const RecordedLaunch launched = launch(call);
  ASSERT_EQ(card.launches.size(), 2u);
  EXPECT_EQ(card.launches[0].symbol, "memset");
  EXPECT_THAT(card.launches[0].arguments, ElementsAre(word(call.outputs[0].data) + 16, 0, 16));
  EXPECT_EQ(launched.symbol, "plain_4");
  EXPECT_EQ(launched.attributes, 1u);
  EXPECT_EQ(low(launched.arguments[3]), 7u);
  fib_kernels_choice choice{.struct_size = sizeof choice};
  ASSERT_EQ(fib_kernels_choose(op, &call.call, &choice), FIB_KERNELS_OK);
  EXPECT_STREQ(choice.solution, "plain");
  EXPECT_EQ(choice.is_winner, 0);
}

TEST_F(CudaCall, AllWhoRefuseAreNamed) {
  ScaleCall call(0);  // a memset behind the end of y
  move(call);
  EXPECT_EQ(fib_kernels_launch(op, &call.call), FIB_KERNELS_UNSUPPORTED);
  EXPECT_THAT(fib_kernels_last_error(),
              HasSubstr("no kernel takes rows=0, len=1: 'plain': step 0, memset: target"));
}

TEST_F(CudaCall, KernelsAreOptedIntoMuchSharedMemory) {
  ScaleCall call(8);
  move(call);
  EXPECT_EQ(launch(call).shared_bytes, 100u << 10);
}

TEST_F(CudaCall, PreparedWeightsReplaceTheOriginals) {
  ScaleCall call(128);
  move(call);
  alignas(256) std::byte block[256];
  fib_kernels_prepare_info info{.struct_size = sizeof info};
  ASSERT_EQ(fib_kernels_query_prepare(op, &call.call, &info), FIB_KERNELS_OK);
  EXPECT_EQ(info.bytes, 256u);
  EXPECT_EQ(info.replaces_originals, 0);  // the others still read them
  ASSERT_EQ(fib_kernels_prepare(op, &call.call, block), FIB_KERNELS_OK);
  ASSERT_EQ(card.launches.size(), 1u);
  EXPECT_EQ(card.launches[0].symbol, "lay_out_0");
  EXPECT_THAT(card.launches[0].arguments, ElementsAre(word(call.inputs[1].data), word(block)));

  call.call.prepared = block;
  call.call.prepared_bytes = sizeof block;
  call.inputs[1] = {};  // gone
  const RecordedLaunch launched = launch(call);
  EXPECT_EQ(launched.symbol, "packed_4");
  ASSERT_EQ(launched.arguments.size(), 4u);
  EXPECT_EQ(launched.arguments[0], word(call.inputs[0].data));
  EXPECT_EQ(launched.arguments[1], word(block) + 32);
  EXPECT_EQ(launched.arguments[2], word(call.outputs[0].data));
  EXPECT_EQ(low(launched.arguments[3]), bits(2.0f));
  ScaleCall few(3);
  move(few);
  few.call.prepared = block;
  few.call.prepared_bytes = sizeof block;
  few.inputs[1].data = nullptr;
  EXPECT_EQ(fib_kernels_launch(op, &few.call), FIB_KERNELS_INVALID_ARGUMENT);
  EXPECT_THAT(fib_kernels_last_error(), HasSubstr("input 'weight' has no data; its kernel reads"));
}

TEST_F(CudaCall, TensorMapsAreEncodedOnceForEachBase) {
  alignas(256) std::byte block[256];
  std::vector<std::unique_ptr<ScaleCall>> layers;
  for (int layer = 0; layer < 24; ++layer) {
    layers.push_back(std::make_unique<ScaleCall>(128));
    move(*layers.back());
    layers.back()->call.prepared = block;
    layers.back()->call.prepared_bytes = sizeof block;
  }
  for (int step = 0; step < 3; ++step) {
    for (const auto& layer : layers) {
      EXPECT_EQ(launch(*layer).arguments[0], word(layer->inputs[0].data));
    }
  }
  EXPECT_EQ(card.encoded, 24);
}

// More bases than are kept: each launch still gets its own.
TEST_F(CudaCall, TensorMapsOfManyBasesStayRight) {
  alignas(256) std::byte block[256];
  ScaleCall call(128);
  move(call);
  call.call.prepared = block;
  call.call.prepared_bytes = sizeof block;
  for (int step = 0; step < 2; ++step) {
    for (uint64_t i = 1; i < 600; ++i) {
      call.inputs[0].data = reinterpret_cast<void*>(i << 20);
      ASSERT_EQ(launch(call).arguments[0], i << 20);
    }
  }
}

TEST_F(CudaCall, WithoutPreparedWeightsTheFallbackServes) {
  ScaleCall call(128);
  move(call);
  EXPECT_EQ(launch(call).symbol, "plain_4");
  fib_kernels_choice choice{.struct_size = sizeof choice};
  ASSERT_EQ(fib_kernels_choose(op, &call.call, &choice), FIB_KERNELS_OK);
  EXPECT_STREQ(choice.solution, "plain");
  EXPECT_EQ(choice.wants_prepared, 1);
}

TEST_F(CudaCall, AFaultNamesTheStep) {
  ScaleCall call(3);
  move(call);
  card.failure = CUDA_ERROR_ILLEGAL_ADDRESS;
  EXPECT_EQ(fib_kernels_launch(op, &call.call), FIB_KERNELS_DEVICE_ERROR);
  EXPECT_THAT(fib_kernels_last_error(),
              HasSubstr("scale_rows_k4, solution 'fast': launch 0, kernel 'fast<4>': "
                        "CUDA_ERROR_ILLEGAL_ADDRESS"));
}

TEST_F(CudaCall, TensorsMustBeOnTheCard) {
  ScaleCall call(3);
  move(call);
  call.outputs[0].device = {kFibKernelsCpu, 0};
  EXPECT_EQ(fib_kernels_launch(op, &call.call), FIB_KERNELS_INVALID_ARGUMENT);
  EXPECT_THAT(fib_kernels_last_error(), HasSubstr("output 'y' is on the CPU"));
  call.outputs[0].device = {kFibKernelsCuda, 0};
  call.outputs[0].byte_offset = 8;
  EXPECT_EQ(fib_kernels_launch(op, &call.call), FIB_KERNELS_INVALID_ARGUMENT);
  EXPECT_THAT(fib_kernels_last_error(), HasSubstr("no multiple of 16 bytes; pass a copy"));
}

TEST_F(CudaCall, LeavesTheCallersContextCurrent) {
  ScaleCall call(3);
  move(call);
  const auto others = reinterpret_cast<CUcontext>(0x77);
  RecordingDriver::current() = others;
  launch(call);
  EXPECT_EQ(RecordingDriver::current(), others);
  RecordingDriver::current() = nullptr;  // a thread of its own that never had one
  launch(call);
  EXPECT_EQ(RecordingDriver::current(), card.context());
}

// No allocation, no lock, and nothing of the driver's but launches and looking at what is current.
TEST_F(CudaCall, AKnownShapeAllocatesNothingAndWaitsForNothing) {
  if (!can_count_allocations()) GTEST_SKIP() << "a sanitiser has malloc and locks for itself";
  card.is_recording = false;
  alignas(256) std::byte block[256];
  ScaleCall few(3), many(128), plain(50);
  for (ScaleCall* call : {&few, &many, &plain}) {
    move(*call);
    call->call.host_inputs = call->host_inputs.data();
    call->call.prepared = block;
    call->call.prepared_bytes = sizeof block;
  }
  const auto make_calls = [&] {
    for (int i = 0; i < 100; ++i) {
      for (ScaleCall* call : {&few, &many, &plain}) {
        ASSERT_EQ(fib_kernels_launch(op, &call->call), FIB_KERNELS_OK);
      }
      // Another layer's tensor.
      many.inputs[0].data = reinterpret_cast<void*>(0x100000 * (i % 8 + 1));
    }
  };
  make_calls();
  const int64_t allocations = allocations_of_this_thread(), waits = waits_of_this_thread();
  const int set_up = card.set_up_calls;
  make_calls();
  EXPECT_EQ(allocations_of_this_thread() - allocations, 0);
  EXPECT_EQ(waits_of_this_thread() - waits, 0);
  EXPECT_EQ(card.set_up_calls - set_up, 0);
  EXPECT_EQ(card.foreign_calls, 0);
}

// Capturing a graph forbids what waits, copies or allocates on the card.
TEST_F(CudaCall, ANewShapeAsksNothingOfTheDriverThatACaptureForbids) {
  const int set_up = card.set_up_calls;
  for (const int64_t rows : {2, 7, 8, 60}) {
    ScaleCall call(rows);
    move(call);
    launch(call);
  }
  EXPECT_EQ(card.set_up_calls - set_up, 0);
  EXPECT_EQ(card.foreign_calls, 0);
}

TEST_F(CudaCall, ThreadsCallAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int seed = 0; seed < 6; ++seed) {
    threads.emplace_back([&, seed] {
      for (int i = 0; i < 200; ++i) {
        ScaleCall call(2 + (i + seed) % 20);
        move(call);
        if (fib_kernels_launch(op, &call.call) != FIB_KERNELS_OK) ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

TEST(CudaOpen, UnloadsWhatItLoaded) {
  RecordingDriver card;
  {
    const OpenPackage package(open_on(card));
    EXPECT_EQ(card.modules, 8);  // four solutions, in two ops
    EXPECT_EQ(card.contexts, 1);
    RecordingDriver::current() = nullptr;  // as if closed by another thread
  }
  EXPECT_EQ(card.modules, 0);
  EXPECT_EQ(card.contexts, 0);
}

TEST(CudaOpen, AnotherCardGetsFallbacksAlone) {
  RecordingDriver card;
  card.name = "Fake Card 2";
  const OpenPackage package(open_on(card));
  EXPECT_EQ(fib_kernels_has_winners(package.device), 0);
  fib_kernels_choice choice{.struct_size = sizeof choice};
  ScaleCall call(3);
  const fib_kernels_raw_call raw = call.raw();
  ASSERT_EQ(fib_kernels_raw_choose(package.find(), &raw, &choice), FIB_KERNELS_OK);
  EXPECT_STREQ(choice.solution, "plain");
}

TEST(CudaOpen, ACardWithoutCodeIsRefused) {
  RecordingDriver card;
  card.compute_major = 7;
  auto target = open_cuda_target(card.driver(), 0);
  ASSERT_TRUE(target);
  const auto device = Device::open(fib_kernels_table, *std::move(target));
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(device.error().message, HasSubstr("no kernel of the package runs on Fake_Card"));
}

TEST(CudaOpen, NoSuchCardAndABinaryThatDoesNotLoad) {
  RecordingDriver card;
  const auto missing = open_cuda_target(card.driver(), 3);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kEnvironment);
  EXPECT_THAT(missing.error().message, HasSubstr("device 3"));
  card.load_failure = CUDA_ERROR_INVALID_IMAGE;
  auto target = open_cuda_target(card.driver(), 0);
  ASSERT_TRUE(target);
  const auto device = Device::open(fib_kernels_table, *std::move(target));
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().code, ErrorCode::kWorkerLost);
  EXPECT_THAT(device.error().to_string(), HasSubstr("the device binary does not load"));
  EXPECT_EQ(card.contexts, 0);
}

TEST(CudaOpen, WithoutADriverOrSuchACardTheStatusSaysSo) {
  fib_kernels_device_options options = FIB_KERNELS_DEVICE_OPTIONS_INIT;
  options.device_type = kFibKernelsCuda;
  options.device_id = 1000;
  fib_kernels_device* device = nullptr;
  EXPECT_EQ(fib_kernels_open(&options, &device), FIB_KERNELS_NO_DRIVER);
  EXPECT_EQ(device, nullptr);
}

TEST(CudaOpen, ChoosesBinariesByArchitecture) {
  const DeviceBinary binaries[] = {{.architecture = "sm_80"},  {.architecture = "sm_86"},
                                   {.architecture = "sm_90a"}, {.architecture = "sm_100a"},
                                   {.architecture = "sm_100"}, {.architecture = "nonsense"}};
  const auto choose = [&](int major, int minor) {
    const FibPlanDevice device{.compute_major = major, .compute_minor = minor};
    const DeviceBinary* chosen = choose_binary({binaries, std::size(binaries)}, device);
    return std::string(chosen == nullptr ? "none" : chosen->architecture);
  };
  EXPECT_EQ(choose(8, 0), "sm_80");
  EXPECT_EQ(choose(8, 9), "sm_86");
  EXPECT_EQ(choose(9, 0), "sm_90a");
  EXPECT_EQ(choose(10, 0), "sm_100a");
  EXPECT_EQ(choose(10, 3), "sm_100");
  EXPECT_EQ(choose(7, 5), "none");
}

}  // namespace
}  // namespace fib::package
