// Many threads at once, and what a call with known shapes costs: no allocation, no lock.

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "runners/cpu/futex.h"
#include "tests/integrations/package/runtime/allocations.h"
#include "tests/integrations/package/runtime/small_package.h"
#include "tests/integrations/package/runtime/waits.h"

namespace fib::package {
namespace {

// Each with tensors of its own, all on one device and its pool, shapes crossing the buckets.
TEST(Threads, CallAtOnce) {
  const OpenPackage package(OpenPackage::cpu_options(3));
  std::atomic<int> wrong{0};
  const auto hammer = [&](int seed) {
    const fib_kernels_op* op = package.find();
    for (int i = 0; i < 400; ++i) {
      ScaleCall call(1 + (seed * 7 + i) % 40, 1.0 + seed);
      const fib_kernels_raw_call raw = call.raw();
      const auto status =
          i % 2 == 0 ? fib_kernels_launch(op, &call.call) : fib_kernels_launch_raw(op, &raw);
      if (status != FIB_KERNELS_OK || !call.is_right()) ++wrong;
    }
  };
  std::vector<std::thread> threads;
  for (int seed = 0; seed < 8; ++seed) threads.emplace_back(hammer, seed);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Threads, HaveMessagesOfTheirOwn) {
  EXPECT_EQ(fib_kernels_launch(nullptr, nullptr), FIB_KERNELS_INVALID_ARGUMENT);
  std::string other;
  std::thread([&] { other = fib_kernels_last_error(); }).join();
  EXPECT_EQ(other, "");
  EXPECT_STREQ(fib_kernels_last_error(), "op or call is NULL");
}

TEST(Allocations, AreCounted) {
  if (!can_count_allocations()) GTEST_SKIP() << "a sanitiser has malloc for itself";
  const int64_t before = allocations_of_this_thread();
  int* volatile kept = new int(3);  // which the compiler can't leave out
  delete kept;
  EXPECT_GT(allocations_of_this_thread(), before);
}

TEST(Waits, AreCounted) {
  if (!can_count_waits()) GTEST_SKIP() << "a sanitiser has locks for itself";
  int64_t before = waits_of_this_thread();
  std::mutex mutex;
  { const std::lock_guard lock(mutex); }
  EXPECT_EQ(waits_of_this_thread() - before, 1);
  before = waits_of_this_thread();
  std::atomic<uint32_t> word{1};
  futex_wake_all(word, FutexScope::kThreads);
  futex_wait(word, 0, 0, FutexScope::kThreads);  // it isn't 0, so this returns
  EXPECT_EQ(waits_of_this_thread() - before, 2);
}

TEST(HotPath, AKnownShapeAllocatesNothingAndLocksNothing) {
  if (!can_count_allocations()) GTEST_SKIP() << "a sanitiser has malloc and locks for itself";
  const OpenPackage package;
  const fib_kernels_op* op = package.find();
  ScaleCall fast(6), plain(30);
  const fib_kernels_raw_call raw = fast.raw();
  size_t bytes = 0;
  const auto make_calls = [&] {
    for (int i = 0; i < 100; ++i) {
      ASSERT_EQ(fib_kernels_launch(op, &fast.call), FIB_KERNELS_OK);
      ASSERT_EQ(fib_kernels_launch(op, &plain.call), FIB_KERNELS_OK);
      ASSERT_EQ(fib_kernels_launch_raw(op, &raw), FIB_KERNELS_OK);
      ASSERT_EQ(fib_kernels_workspace_bytes(op, &fast.call, &bytes), FIB_KERNELS_OK);
    }
  };
  make_calls();
  const int64_t allocations = allocations_of_this_thread(), waits = waits_of_this_thread();
  make_calls();
  EXPECT_EQ(allocations_of_this_thread() - allocations, 0);
  EXPECT_EQ(waits_of_this_thread() - waits, 0);
}

}  // namespace
}  // namespace fib::package
