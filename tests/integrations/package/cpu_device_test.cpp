#include <array>

#include "integrations/package/dispatch.h"
#include "signatures/base/dtype.h"
#include "tests/integrations/package/package_fixture.h"

namespace fib {
namespace {

class CpuDeviceTest : public testing::Test {
 protected:
  std::unique_ptr<ServingDevice> device_ = must(open_cpu_device(3));
};

TEST_F(CpuDeviceTest, SaysWhatItIs) {
  EXPECT_EQ(device_->info().target, "cpu");
  EXPECT_EQ(device_->info().threads, 3);
  EXPECT_FALSE(device_->info().name.empty());
  EXPECT_GT(device_->info().memory_bytes, device_->free_bytes());
  EXPECT_GE(must(open_cpu_device(0))->info().threads, 1);
  const auto refused = open_cpu_device(-1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidInput);
}

TEST_F(CpuDeviceTest, MemoryIsAlignedAndCopied) {
  const size_t bytes = (5 << 20) + 3;  // several pieces for several threads, the last one odd
  const DeviceArray first = must(device_->allocate(bytes)), second = must(device_->allocate(bytes));
  const HostArray host = must(device_->allocate_host(bytes));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first.data()) % 256, 0u);
  for (size_t i = 0; i < bytes; ++i) host.data()[i] = static_cast<std::byte>(i * 7 >> 3);
  must(device_->upload(first.data(), host.data(), bytes));
  must(device_->copy(second.data(), first.data(), bytes));
  std::vector<std::byte> back(bytes);
  must(device_->download(back.data(), second.data(), bytes));
  must(device_->synchronize());
  EXPECT_TRUE(std::equal(back.begin(), back.end(), host.data()));
  must(device_->fill(second.data(), 9, bytes));
  EXPECT_EQ(second.data()[bytes - 1], std::byte{9});
}

TEST_F(CpuDeviceTest, NoBytesNeedNoMemory) {
  EXPECT_EQ(must(device_->allocate(0)).data(), nullptr);
  EXPECT_EQ(must(device_->allocate_host(0)).data(), nullptr);
}

TEST_F(CpuDeviceTest, MoreThanThereIsIsRefused) {
  const auto refused = device_->allocate(size_t{1} << 46);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(refused.error().message, testing::HasSubstr("no 65536.0 GiB of memory"));
}

TEST_F(CpuDeviceTest, RandomWeightsAreUniformAndRepeatable) {
  constexpr int64_t kCount = 300'001;  // more than one piece of work
  const DeviceArray array = must(device_->allocate(kCount * 2));
  must(device_->fill_random(array.data(), kCount * 2, 0.5f, 7));
  double sum = 0.0, squares = 0.0;
  for (int64_t i = 0; i < kCount; ++i) {
    const double value = load_element(DType::kBFloat16, array.data(), i);
    ASSERT_LE(std::abs(value), 0.5);
    sum += value;
    squares += value * value;
  }
  EXPECT_NEAR(sum / kCount, 0.0, 0.01);
  EXPECT_NEAR(squares / kCount, 0.25 / 3, 0.01);

  const DeviceArray again = must(device_->allocate(kCount * 2));
  must(must(open_cpu_device(1))->fill_random(again.data(), kCount * 2, 0.5f, 7));
  EXPECT_TRUE(std::equal(array.data(), array.data() + kCount * 2, again.data()));
  must(device_->fill_random(again.data(), kCount * 2, 0.5f, 8));
  EXPECT_FALSE(std::equal(array.data(), array.data() + kCount * 2, again.data()));
}

TEST_F(CpuDeviceTest, RandomBitsFillAnyNumberOfBytes) {
  for (const size_t bytes : {size_t{4096}, size_t{4097}}) {
    const DeviceArray array = must(device_->allocate(bytes));
    must(device_->fill(array.data(), 0, bytes));
    must(device_->fill_random(array.data(), bytes, 0.0f, 3));
    std::array<int, 256> counts{};
    for (size_t i = 0; i < bytes; ++i) ++counts[static_cast<uint8_t>(array.data()[i])];
    EXPECT_LT(*std::max_element(counts.begin(), counts.end()), 64);
  }
  const DeviceArray odd = must(device_->allocate(3));
  const auto refused = device_->fill_random(odd.data(), 3, 1.0f, 3);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidInput);
}

TEST_F(CpuDeviceTest, ArraysMoveWithTheirMemory) {
  DeviceArray array = must(device_->allocate(256));
  std::byte* const data = array.data();
  DeviceArray moved = std::move(array);
  EXPECT_EQ(moved.data(), data);
  EXPECT_EQ(array.data(), nullptr);
  moved = must(device_->allocate(512));
  EXPECT_EQ(moved.bytes(), 512u);
}

}  // namespace
}  // namespace fib
