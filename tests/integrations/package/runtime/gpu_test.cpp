// The hand-written package on a real card of compute capability 9.0: winners, fallbacks, prepared
// weights with a tensor map, graphs and threads.

#include <gtest/gtest.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

#include "integrations/package/runtime/cuda_target.h"
#include "integrations/package/runtime/device.h"
#include "runners/launch/cuda_driver.h"
#include "tests/integrations/package/runtime/small_package.h"

namespace fib::package {
namespace {

void require(const CudaDriver& driver, CUresult result) {
  if (result != CUDA_SUCCESS) throw std::runtime_error(driver.describe(result));
}

// Memory and a stream of the card, in the context that is current.
class CardStream {
 public:
  explicit CardStream(const CudaDriver& driver) : driver_(driver) {
    require(driver_, driver_.cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING));
  }
  ~CardStream() {
    for (const CUdeviceptr block : blocks_) driver_.cuMemFree(block);
    driver_.cuStreamDestroy(stream_);
  }
  CardStream(const CardStream&) = delete;
  CardStream& operator=(const CardStream&) = delete;

  CUstream stream() const { return stream_; }
  void* allocate(size_t bytes) {
    CUdeviceptr block = 0;
    require(driver_, driver_.cuMemAlloc(&block, bytes + 1));
    blocks_.push_back(block);
    return reinterpret_cast<void*>(block);
  }
  void upload(void* to, const void* from, size_t bytes) {
    require(driver_,
            driver_.cuMemcpyHtoDAsync(reinterpret_cast<CUdeviceptr>(to), from, bytes, stream_));
  }
  void download(void* to, const void* from, size_t bytes) {
    require(driver_,
            driver_.cuMemcpyDtoHAsync(to, reinterpret_cast<CUdeviceptr>(from), bytes, stream_));
    synchronize();
  }
  void synchronize() { require(driver_, driver_.cuStreamSynchronize(stream_)); }

 private:
  const CudaDriver& driver_;
  CUstream stream_ = nullptr;
  std::vector<CUdeviceptr> blocks_;
};

// A call whose tensors have copies on the card.
class CardCall {
 public:
  ScaleCall host;

  CardCall(CardStream& card, int64_t rows, double factor = 2.0) : host(rows, factor), card_(card) {
    bytes_ = static_cast<size_t>(rows * kColumns) * sizeof(float);
    const auto move = [&](fib_kernels_tensor& tensor, size_t bytes) {
      void* const copy = card.allocate(bytes);
      if (bytes > 0) card.upload(copy, tensor.data, bytes);
      tensor.data = copy;
      tensor.device = {kFibKernelsCuda, 0};
    };
    host_y_ = host.outputs[0].data;
    move(host.inputs[0], bytes_);
    move(host.inputs[1], kColumns * sizeof(float));
    move(host.inputs[3], static_cast<size_t>(rows + 1) * sizeof(int32_t));
    move(host.outputs[0], bytes_);
    host.call.workspace = card.allocate(host.call.workspace_bytes);
    host.call.stream = card.stream();
  }

  bool is_right() {
    card_.download(host_y_, host.outputs[0].data, bytes_);
    return host.is_right();
  }
  void clear() {
    host.clear();
    card_.upload(host.outputs[0].data, host_y_, bytes_);
  }

 private:
  CardStream& card_;
  size_t bytes_ = 0;
  void* host_y_ = nullptr;
};

class RealCard : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = CudaDriver::open();
    if (!opened) GTEST_SKIP() << "no card: " << opened.error().to_string();
    driver = *opened;
    int major = 0;
    CUdevice device = 0;
    require(*driver, driver->cuDeviceGet(&device, 0));
    driver->cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device);
    if (major != 9) GTEST_SKIP() << "the package's kernels are for compute capability 9.0";
    device_ = device;
    open();
    require(*driver, driver->cuDevicePrimaryCtxRetain(&context, device));
    require(*driver, driver->cuCtxSetCurrent(context));
  }
  // As if the winners had won on this very card.
  void open() {
    auto target = open_cuda_target(driver, 0);
    if (!target) throw std::runtime_error(target.error().to_string());
    const SignatureRow& known = fib_kernels_table.signatures[0];
    hardware_ = (*target)->hardware();
    winners_ = {hardware_.c_str(), known.hardware[0].buckets};
    row_ = known;
    row_.hardware = {&winners_, 1};
    table_ = fib_kernels_table;
    table_.signatures = {&row_, 1};
    auto device = Device::open(table_, *std::move(target));
    if (!device) throw std::runtime_error(device.error().to_string());
    package.emplace(device->release());
    op = package->find();
  }
  void TearDown() override {
    package.reset();
    if (context != nullptr) driver->cuDevicePrimaryCtxRelease(device_);
  }

  CudaDriverPtr driver;
  CUcontext context = nullptr;
  std::optional<OpenPackage> package;
  const fib_kernels_op* op = nullptr;

 private:
  CUdevice device_ = 0;
  std::string hardware_;
  HardwareRow winners_;
  SignatureRow row_;
  PackageTable table_;
};

// 3 and 8 rows: a winner, with workspace and much shared memory; 7: one that refuses.
TEST_F(RealCard, CallsAreRight) {
  CardStream card(*driver);
  for (const int64_t rows : {3, 7, 8, 50, 150, 300}) {
    CardCall call(card, rows);
    for (int i = 0; i < 2; ++i) {
      call.clear();
      ASSERT_EQ(fib_kernels_launch(op, &call.host.call), FIB_KERNELS_OK)
          << fib_kernels_last_error();
      EXPECT_TRUE(call.is_right()) << rows;
    }
  }
}

TEST_F(RealCard, PreparedWeightsAndTensorMaps) {
  CardStream card(*driver);
  CardCall first(card, 128), second(card, 128);
  fib_kernels_prepare_info info{.struct_size = sizeof info};
  ASSERT_EQ(fib_kernels_query_prepare(op, &first.host.call, &info), FIB_KERNELS_OK);
  void* const block = card.allocate(info.bytes);
  ASSERT_EQ(fib_kernels_prepare(op, &first.host.call, block), FIB_KERNELS_OK)
      << fib_kernels_last_error();
  for (int i = 0; i < 3; ++i) {
    for (CardCall* call : {&first, &second}) {
      call->clear();
      call->host.call.prepared = block;
      call->host.call.prepared_bytes = info.bytes;
      call->host.inputs[1].data = nullptr;  // the prepared one is read in its place
      ASSERT_EQ(fib_kernels_launch(op, &call->host.call), FIB_KERNELS_OK)
          << fib_kernels_last_error();
      EXPECT_TRUE(call->is_right());
    }
  }
}

TEST_F(RealCard, OpensThroughTheCInterface) {
  fib_kernels_device_options options = FIB_KERNELS_DEVICE_OPTIONS_INIT;
  options.device_type = kFibKernelsCuda;
  const OpenPackage own(options);
  EXPECT_STREQ(fib_kernels_hardware(own.device), fib_kernels_hardware(package->device));
  fib_kernels_device* device = nullptr;
  options.device_id = 1000;
  EXPECT_EQ(fib_kernels_open(&options, &device), FIB_KERNELS_NO_DRIVER);
}

TEST_F(RealCard, ANewShapeMayBeCaptured) {
  CardStream card(*driver);
  CardCall call(card, 77, 3.0);
  card.synchronize();
  require(*driver, driver->cuStreamBeginCapture(card.stream(), CU_STREAM_CAPTURE_MODE_GLOBAL));
  ASSERT_EQ(fib_kernels_launch(op, &call.host.call), FIB_KERNELS_OK) << fib_kernels_last_error();
  CUgraph graph = nullptr;
  CUgraphExec executable = nullptr;
  require(*driver, driver->cuStreamEndCapture(card.stream(), &graph));
  require(*driver, driver->cuGraphInstantiate(&executable, graph, 0));
  for (int i = 0; i < 2; ++i) {
    call.clear();
    require(*driver, driver->cuGraphLaunch(executable, card.stream()));
    EXPECT_TRUE(call.is_right());
  }
  driver->cuGraphExecDestroy(executable);
  driver->cuGraphDestroy(graph);
}

// Threads that never made the context theirs, each on a stream of its own.
TEST_F(RealCard, ThreadsCallAtOnce) {
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      require(*driver, driver->cuCtxSetCurrent(context));
      CardStream card(*driver);
      for (int i = 0; i < 50; ++i) {
        CardCall call(card, 2 + (seed + i) % 20, 1.0 + seed);
        std::thread([&] {
          if (fib_kernels_launch(op, &call.host.call) != FIB_KERNELS_OK) ++wrong;
        }).join();
        if (!call.is_right()) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace fib::package
