// What a caller may get wrong: a status and a message, nothing enqueued, nothing broken.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <utility>

#include "tests/integrations/package/runtime/small_package.h"

namespace fib::package {
namespace {

using testing::HasSubstr;

class BadCall : public testing::Test {
 protected:
  void refused(fib_kernels_status status, const char* message) {
    const int runs = counters.fast + counters.plain;
    EXPECT_EQ(fib_kernels_launch(op, &call.call), status) << message;
    EXPECT_THAT(fib_kernels_last_error(), HasSubstr(message));
    EXPECT_EQ(counters.fast + counters.plain, runs);
  }
  void raw_refused(const fib_kernels_raw_call& raw, fib_kernels_status status,
                   const char* message) {
    EXPECT_EQ(fib_kernels_launch_raw(op, &raw), status) << message;
    EXPECT_THAT(fib_kernels_last_error(), HasSubstr(message));
  }

  OpenPackage package;
  const fib_kernels_op* op = package.find();
  ScaleCall call{5};
};

TEST_F(BadCall, Nothing) {
  EXPECT_EQ(fib_kernels_launch(nullptr, &call.call), FIB_KERNELS_INVALID_ARGUMENT);
  EXPECT_EQ(fib_kernels_launch(op, nullptr), FIB_KERNELS_INVALID_ARGUMENT);
  EXPECT_EQ(fib_kernels_launch_raw(op, nullptr), FIB_KERNELS_INVALID_ARGUMENT);
  EXPECT_EQ(fib_kernels_workspace_bytes(op, &call.call, nullptr), FIB_KERNELS_INVALID_ARGUMENT);
  EXPECT_EQ(fib_kernels_query_prepare(op, &call.call, nullptr), FIB_KERNELS_INVALID_ARGUMENT);
  EXPECT_EQ(fib_kernels_choose(op, &call.call, nullptr), FIB_KERNELS_INVALID_ARGUMENT);
  EXPECT_EQ(fib_kernels_raw_choose(op, nullptr, nullptr), FIB_KERNELS_INVALID_ARGUMENT);
  EXPECT_EQ(fib_kernels_open(nullptr, nullptr), FIB_KERNELS_INVALID_ARGUMENT);
  EXPECT_EQ(fib_kernels_find(nullptr, kScale, nullptr, 0, &op), FIB_KERNELS_INVALID_ARGUMENT);
  EXPECT_STREQ(fib_kernels_last_error(), "device is NULL");
  EXPECT_STREQ(fib_kernels_hardware(nullptr), "");
  fib_kernels_close(nullptr);
}

TEST_F(BadCall, StructOfAnotherSize) {
  call.call.struct_size = 8;
  refused(FIB_KERNELS_INVALID_ARGUMENT, "call.struct_size is 8");
  fib_kernels_raw_call raw = call.raw();
  raw.struct_size = 0;
  raw_refused(raw, FIB_KERNELS_INVALID_ARGUMENT, "call.struct_size is 0");
  fib_kernels_choice choice{.struct_size = 8};
  call.call.struct_size = sizeof call.call;
  EXPECT_EQ(fib_kernels_choose(op, &call.call, &choice), FIB_KERNELS_INVALID_ARGUMENT);
  fib_kernels_prepare_info info{.struct_size = 4};
  EXPECT_EQ(fib_kernels_query_prepare(op, &call.call, &info), FIB_KERNELS_INVALID_ARGUMENT);
}

TEST_F(BadCall, Count) {
  call.call.num_inputs = 3;
  refused(FIB_KERNELS_INVALID_ARGUMENT, "scale_rows_k4: 3 inputs given, it has 4");
  call.call.num_inputs = 4;
  call.call.num_outputs = 2;
  refused(FIB_KERNELS_INVALID_ARGUMENT, "2 outputs given, it has 1");
  call.call.num_outputs = 1;
  call.call.outputs = nullptr;
  refused(FIB_KERNELS_INVALID_ARGUMENT, "call.inputs or call.outputs is NULL");
}

TEST_F(BadCall, Rank) {
  call.inputs[0].ndim = 1;
  refused(FIB_KERNELS_INVALID_ARGUMENT,
          "input 'x' has 1 dimensions, the signature says [rows, columns]");
}

TEST_F(BadCall, NoShape) {
  int64_t* const shape = std::exchange(call.inputs[0].shape, nullptr);
  refused(FIB_KERNELS_INVALID_ARGUMENT, "input 'x' has no shape: its `shape` is NULL");
  size_t bytes = 0;
  EXPECT_EQ(fib_kernels_workspace_bytes(op, &call.call, &bytes), FIB_KERNELS_INVALID_ARGUMENT);
  call.inputs[0].shape = shape;
  call.inputs[1].shape = nullptr;
  fib_kernels_prepare_info info{.struct_size = sizeof info};
  EXPECT_EQ(fib_kernels_query_prepare(op, &call.call, &info), FIB_KERNELS_INVALID_ARGUMENT);
  EXPECT_THAT(fib_kernels_last_error(), HasSubstr("input 'weight' has no shape"));
}

TEST_F(BadCall, ElementType) {
  call.inputs[1].dtype = {FIB_BFLOAT, 16, 1};
  refused(FIB_KERNELS_INVALID_ARGUMENT, "input 'weight' is bfloat16, the signature says float32");
  call.inputs[1].dtype = {FIB_FLOAT, 32, 2};
  refused(FIB_KERNELS_INVALID_ARGUMENT, "input 'weight' is float32x2");
}

TEST_F(BadCall, Shape) {
  call.inputs[1].shape[0] = 5;
  refused(FIB_KERNELS_INVALID_ARGUMENT, "input 'weight' has 'columns' = 5, it is 4");
  call.inputs[1].shape[0] = 4;
  call.outputs[0].shape[0] = 6;
  refused(FIB_KERNELS_INVALID_ARGUMENT, "output 'y' has 'rows' = 6, it is 5");
  call.outputs[0].shape[0] = 5;
  call.inputs[0].shape[0] = -5;
  refused(FIB_KERNELS_INVALID_ARGUMENT, "input 'x' has a negative size for 'rows': -5");
}

TEST_F(BadCall, Constraint) {
  call.inputs[3].shape[0] = 5;
  refused(FIB_KERNELS_INVALID_ARGUMENT,
          "the constraint 'len == rows + 1' is false for rows=5, len=5");
}

TEST_F(BadCall, Device) {
  call.inputs[0].device = {kFibKernelsCuda, 3};
  refused(FIB_KERNELS_INVALID_ARGUMENT, "input 'x' is on card 3, the call runs on the CPU");
  call.inputs[0].device = {12, 0};
  refused(FIB_KERNELS_INVALID_ARGUMENT, "input 'x' is on a device of DLPack type 12");
}

TEST_F(BadCall, Strides) {
  int64_t strides[] = {8, 1};
  call.outputs[0].strides = strides;
  refused(FIB_KERNELS_INVALID_ARGUMENT,
          "output 'y' is not row-major and contiguous; pass a copy that is (torch: .contiguous())");
}

TEST_F(BadCall, Alignment) {
  call.inputs[0].byte_offset = 32;
  refused(FIB_KERNELS_INVALID_ARGUMENT,
          "input 'x' begins at an address that is no multiple of 64 bytes; pass a copy that does "
          "(torch: .clone())");
}

TEST_F(BadCall, NoData) {
  call.inputs[0].data = nullptr;
  refused(FIB_KERNELS_INVALID_ARGUMENT, "input 'x' has no data");
  fib_kernels_raw_call raw = call.raw();
  raw.inputs = nullptr;
  raw_refused(raw, FIB_KERNELS_INVALID_ARGUMENT, "call.inputs is NULL");
  raw = call.raw();
  raw.axes = nullptr;
  raw_refused(raw, FIB_KERNELS_INVALID_ARGUMENT, "call.axes is NULL");
}

TEST_F(BadCall, AWeightThatIsGone) {
  fib_kernels_raw_call raw = call.raw();
  call.raw_inputs[1] = nullptr;
  raw_refused(raw, FIB_KERNELS_INVALID_ARGUMENT, "input 'weight' has no data");
}

TEST_F(BadCall, Scalars) {
  call.scalars[2] = std::numeric_limits<double>::infinity();
  // On the CPU plans don't depend on values: they are looked at where a shape is new.
  refused(FIB_KERNELS_INVALID_ARGUMENT, "input 'factor' is inf");
  call.call.scalars = nullptr;
  refused(FIB_KERNELS_INVALID_ARGUMENT, "call.scalars is NULL");
  call.inputs[2].data = &call.scalars[2];
  refused(FIB_KERNELS_INVALID_ARGUMENT, "input 'factor' is a tensor");
}

TEST_F(BadCall, AxesOfARawCall) {
  call.axes = {-5, -4};
  raw_refused(call.raw(), FIB_KERNELS_INVALID_ARGUMENT, "the axis 'rows' is -5");
  call.axes = {5, 5};
  raw_refused(call.raw(), FIB_KERNELS_INVALID_ARGUMENT, "the constraint 'len == rows + 1'");
  fib_kernels_choice choice{.struct_size = sizeof choice};
  const fib_kernels_raw_call raw = call.raw();
  EXPECT_EQ(fib_kernels_raw_choose(op, &raw, &choice), FIB_KERNELS_INVALID_ARGUMENT);
}

TEST_F(BadCall, Workspace) {
  call.call.workspace_bytes = 319;
  refused(FIB_KERNELS_WORKSPACE_TOO_SMALL, "319 bytes of workspace given, 320 are needed");
  call.call.workspace_bytes = 320;
  call.call.workspace = static_cast<std::byte*>(call.call.workspace) + 64;
  refused(FIB_KERNELS_INVALID_ARGUMENT, "call.workspace is NULL or no multiple of 256 bytes");
  call.call.workspace = nullptr;
  refused(FIB_KERNELS_INVALID_ARGUMENT, "call.workspace is NULL");
}

TEST_F(BadCall, PreparedWeights) {
  ScaleCall packed(128);
  alignas(256) std::byte block[512];
  ASSERT_EQ(fib_kernels_prepare(op, &packed.call, block), FIB_KERNELS_OK);
  EXPECT_EQ(fib_kernels_prepare(op, &packed.call, nullptr), FIB_KERNELS_INVALID_ARGUMENT);
  EXPECT_EQ(fib_kernels_prepare(op, &packed.call, block + 8), FIB_KERNELS_INVALID_ARGUMENT);
  packed.call.workspace_bytes = 31;
  EXPECT_EQ(fib_kernels_prepare(op, &packed.call, block), FIB_KERNELS_WORKSPACE_TOO_SMALL);
  packed.call.workspace_bytes = 32;
  packed.call.prepared = block;
  packed.call.prepared_bytes = 255;
  EXPECT_EQ(fib_kernels_launch(op, &packed.call), FIB_KERNELS_INVALID_ARGUMENT);
  EXPECT_THAT(fib_kernels_last_error(),
              HasSubstr("255 bytes of prepared weights given, fib_kernels_prepare writes 256"));
  packed.call.prepared = block + 16;
  packed.call.prepared_bytes = 256;
  EXPECT_EQ(fib_kernels_launch(op, &packed.call), FIB_KERNELS_INVALID_ARGUMENT);
}

TEST(BadOpen, IsRefusedWithTheReason) {
  const auto refused = [](fib_kernels_device_options options, fib_kernels_status status,
                          const char* message) {
    fib_kernels_device* device = nullptr;
    EXPECT_EQ(fib_kernels_open(&options, &device), status);
    EXPECT_THAT(fib_kernels_last_error(), HasSubstr(message));
    EXPECT_EQ(device, nullptr);
  };
  fib_kernels_device_options options = FIB_KERNELS_DEVICE_OPTIONS_INIT;
  options.device_type = 8;
  refused(options, FIB_KERNELS_INVALID_ARGUMENT, "options.device_type is 8");
  options.device_type = kFibKernelsCpu;
  options.device_id = 1;
  refused(options, FIB_KERNELS_INVALID_ARGUMENT, "options.device_id is 1; the CPU is 0");
  options.device_id = 0;
  options.num_threads = -1;
  refused(options, FIB_KERNELS_INVALID_ARGUMENT, "-1 threads");
  options.num_threads = 1;
  options.struct_size = 4;
  refused(options, FIB_KERNELS_INVALID_ARGUMENT, "options.struct_size is 4");
}

TEST(Status, HasANameEach) {
  EXPECT_STREQ(fib_kernels_status_name(FIB_KERNELS_OK), "OK");
  EXPECT_STREQ(fib_kernels_status_name(FIB_KERNELS_NOT_PREPARED), "NOT_PREPARED");
  EXPECT_STREQ(fib_kernels_status_name(static_cast<fib_kernels_status>(77)), "unknown");
}

}  // namespace
}  // namespace fib::package
