// A package on the CPU: what is found, which solution serves what, and that results are right.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "integrations/package/runtime/struct_size.h"
#include "integrations/package/runtime/targets.h"
#include "runners/cpu/host_identity.h"
#include "tests/integrations/package/runtime/small_package.h"

namespace fib::package {
namespace {

using testing::HasSubstr;
using testing::StrEq;

TEST(Package, TellsWhatItIs) {
  EXPECT_EQ(fib_kernels_abi_version(), FIB_KERNELS_ABI_MAJOR << 16 | FIB_KERNELS_ABI_MINOR);
  EXPECT_THAT(fib_kernels_manifest(), StrEq("{\"name\": \"small\"}"));
  ASSERT_EQ(fib_kernels_num_signatures(), 2u);
  EXPECT_THAT(fib_kernels_signature(1)->name, StrEq(kScale));
  EXPECT_EQ(fib_kernels_signature(1)->parameters[0].value, 2.0);
  EXPECT_EQ(fib_kernels_signature(2), nullptr);
  const fib_kernels_api* api = fib_kernels_get_api(FIB_KERNELS_ABI_MAJOR);
  ASSERT_NE(api, nullptr);
  EXPECT_EQ(api->struct_size, sizeof(fib_kernels_api));
  EXPECT_EQ(api->launch_raw, &fib_kernels_launch_raw);
  EXPECT_EQ(fib_kernels_get_api(FIB_KERNELS_ABI_MAJOR + 1), nullptr);
}

TEST(Package, OpensTheCpuWithItsWinners) {
  const OpenPackage package;
  EXPECT_EQ(fib_kernels_hardware(package.device), hardware_key(host_processor()));
  EXPECT_EQ(fib_kernels_has_winners(package.device), 1);
}

TEST(Package, ChoosesTheBestLevelThatRuns) {
  CpuCode code{.level = "native", .flags = "avx2 fma"};
  EXPECT_TRUE(runs_on(code, "sse2 avx2 fma avx"));
  EXPECT_FALSE(runs_on(code, "sse2 avx2 avx"));
  code.flags = nullptr;  // compiled nobody knows where
  EXPECT_FALSE(runs_on(code, "sse2 avx2 fma avx"));
  code.level = "arm-v9";
  EXPECT_FALSE(runs_on(code, "sse2"));
}

TEST(Package, AsksTheProcessorForTheTileLevel) {
  const std::string flags = host_processor().flags;
  const bool has_all =
      has_processor_flag(flags, "avx512_bf16") && has_processor_flag(flags, "avx512_vnni") &&
      has_processor_flag(flags, "amx_tile") && has_processor_flag(flags, "amx_bf16");
  EXPECT_EQ(runs_on({.level = "x86-64-v4-amx"}, ""), has_all);
}

TEST(Package, FindsOpsByNameAndParameters) {
  const OpenPackage package;
  const fib_kernels_op* own = package.find();
  const fib_kernels_parameter two = {"bias", 2.0}, one = {"bias", 1.0};
  const fib_kernels_op* op = nullptr;
  ASSERT_EQ(fib_kernels_find(package.device, kScale, &one, 1, &op), FIB_KERNELS_OK);
  EXPECT_EQ(op, own);
  ASSERT_EQ(fib_kernels_find(package.device, kScale, &two, 1, &op), FIB_KERNELS_OK);
  EXPECT_NE(op, own);
  ScaleCall call(3);
  ASSERT_EQ(fib_kernels_launch(op, &call.call), FIB_KERNELS_OK);
  EXPECT_TRUE(call.is_right(2.0));
}

// An engine that keeps eps as a float and passes it on as a double.
TEST(Package, ParametersAreComparedAsFloats) {
  const OpenPackage package;
  const fib_kernels_op *op = nullptr, *own = package.find();
  const fib_kernels_parameter rounded = {"bias", 1.0 + 1e-9}, other = {"bias", 1.0 + 1e-6};
  ASSERT_EQ(fib_kernels_find(package.device, kScale, &rounded, 1, &op), FIB_KERNELS_OK);
  EXPECT_EQ(op, own);
  EXPECT_EQ(fib_kernels_find(package.device, kScale, &other, 1, &op), FIB_KERNELS_NOT_FOUND);
  EXPECT_THAT(fib_kernels_last_error(), HasSubstr("not built for (bias=1.000001), only for"));
}

// What 1.0 was must stay, and be enough for later versions of the library.
TEST(Package, TakesStructsOfVersionOne) {
  EXPECT_EQ(kFirstSize<fib_kernels_device_options>, 32u);
  EXPECT_EQ(kFirstSize<fib_kernels_call>, 88u);
  EXPECT_EQ(kFirstSize<fib_kernels_raw_call>, 88u);
  EXPECT_EQ(kFirstSize<fib_kernels_prepare_info>, 24u);
  EXPECT_EQ(kFirstSize<fib_kernels_choice>, 32u);
  const fib_kernels_signature_info& info = *fib_kernels_signature(0);
  EXPECT_EQ(offsetof(fib_kernels_signature_info, name), 16u);
  EXPECT_EQ(info.axis_info_size, 16u);
  EXPECT_EQ(info.tensor_info_size, 40u);
  EXPECT_EQ(fib_kernels_axis_at(&info, 1), &info.axes[1]);
  EXPECT_EQ(fib_kernels_input_at(&info, 3), &info.inputs[3]);
  EXPECT_EQ(fib_kernels_output_at(&info, 0), &info.outputs[0]);
}

// Of a later package, whose infos are longer.
TEST(Package, FindsInfosByTheirSizeInThePackage) {
  struct LaterAxis {
    fib_kernels_axis_info info;
    int64_t added;
  };
  const LaterAxis axes[] = {{{"rows", -1}, 7}, {{"columns", 4}, 8}};
  fib_kernels_signature_info info{};
  info.axis_info_size = sizeof(LaterAxis);
  info.axes = &axes[0].info;
  EXPECT_STREQ(fib_kernels_axis_at(&info, 1)->name, "columns");
}

TEST(Package, SaysWhatIsNotThere) {
  const OpenPackage package;
  const fib_kernels_op* op = nullptr;
  EXPECT_EQ(fib_kernels_find(package.device, "scale_rows_k5", nullptr, 0, &op),
            FIB_KERNELS_NOT_FOUND);
  EXPECT_THAT(fib_kernels_last_error(), HasSubstr("did you mean 'scale_rows_k4'?"));
  EXPECT_EQ(op, nullptr);
  const fib_kernels_parameter three = {"bias", 3.0}, other = {"eps", 1.0};
  EXPECT_EQ(fib_kernels_find(package.device, kScale, &three, 1, &op), FIB_KERNELS_NOT_FOUND);
  EXPECT_THAT(fib_kernels_last_error(),
              HasSubstr("not built for (bias=3), only for (bias=1), (bias=2)"));
  EXPECT_EQ(fib_kernels_find(package.device, kScale, &other, 1, &op), FIB_KERNELS_NOT_FOUND);
  EXPECT_THAT(fib_kernels_last_error(), HasSubstr("no parameter 'eps'"));
}

TEST(Op, WinnersServeTheirBucketsAndFallbacksTheRest) {
  const OpenPackage package;
  const fib_kernels_op* op = package.find();
  for (const int64_t rows : {0, 1, 8, 9, 99, 300}) {
    ScaleCall call(rows);
    const int fast = counters.fast, plain = counters.plain;
    ASSERT_EQ(fib_kernels_launch(op, &call.call), FIB_KERNELS_OK) << fib_kernels_last_error();
    EXPECT_TRUE(call.is_right()) << rows;
    EXPECT_EQ(counters.fast - fast, rows >= 1 && rows <= 8 ? 1 : 0) << rows;
    EXPECT_EQ(counters.plain - plain, rows >= 1 && rows <= 8 ? 0 : 1) << rows;
  }
}

TEST(Op, TellsWhoServesACall) {
  const OpenPackage package;
  const fib_kernels_op* op = package.find();
  alignas(256) static std::byte block[256];
  struct Case {
    int64_t rows;
    void* prepared;
    const char* expected;
  };
  for (const auto& [rows, prepared, expected] :
       {Case{8, nullptr, "fast, winner"}, Case{9, nullptr, "plain"},
        Case{128, nullptr, "plain, wants prepared"}, Case{128, block, "packed, winner"},
        Case{8, block, "fast, winner"}, Case{7, nullptr, "fast, winner"}}) {
    ScaleCall call(rows);
    call.call.prepared = prepared;
    call.call.prepared_bytes = prepared == nullptr ? 0 : sizeof block;
    fib_kernels_raw_call raw = call.raw();
    raw.inputs = raw.outputs = nullptr;  // no address is looked at
    fib_kernels_choice choice{.struct_size = sizeof choice}, raw_choice = choice;
    ASSERT_EQ(fib_kernels_choose(op, &call.call, &choice), FIB_KERNELS_OK);
    ASSERT_EQ(fib_kernels_raw_choose(op, &raw, &raw_choice), FIB_KERNELS_OK);
    EXPECT_STREQ(choice.solution, raw_choice.solution);
    EXPECT_EQ(std::string(choice.solution) + (choice.is_winner != 0 ? ", winner" : "") +
                  (choice.wants_prepared != 0 ? ", wants prepared" : ""),
              expected)
        << rows;
  }
}

// The one that is named is the one that then runs.
TEST(Op, WhoIsNamedIsWhoServes) {
  const OpenPackage package;
  const fib_kernels_op* op = package.find();
  alignas(256) static std::byte block[256];
  for (const int64_t rows : {1, 7, 8, 50, 128, 200, 1000}) {
    for (void* const prepared : {static_cast<void*>(nullptr), static_cast<void*>(block)}) {
      ScaleCall call(rows);
      call.call.prepared = prepared;
      call.call.prepared_bytes = sizeof block;
      // Whether a kernel on the CPU refuses a shape shows when it has run once.
      ASSERT_EQ(fib_kernels_launch(op, &call.call), FIB_KERNELS_OK) << fib_kernels_last_error();
      fib_kernels_choice choice{.struct_size = sizeof choice};
      ASSERT_EQ(fib_kernels_choose(op, &call.call, &choice), FIB_KERNELS_OK);
      const std::string name = choice.solution;
      const std::atomic<int>& served = name == "plain"  ? counters.plain
                                       : name == "fast" ? counters.fast
                                                        : counters.packed;
      const int before = served;
      ASSERT_EQ(fib_kernels_launch(op, &call.call), FIB_KERNELS_OK);
      EXPECT_EQ(served - before, 1) << rows << " rows, " << name;
    }
  }
}

TEST(Op, ARefusalGoesToTheNextSolutionForGood) {
  const OpenPackage package;
  const fib_kernels_op* op = package.find();
  ScaleCall call(7);
  const int fast = counters.fast, plain = counters.plain;
  for (int i = 0; i < 3; ++i) {
    call.clear();
    ASSERT_EQ(fib_kernels_launch(op, &call.call), FIB_KERNELS_OK) << fib_kernels_last_error();
    EXPECT_TRUE(call.is_right());
  }
  EXPECT_EQ(counters.fast - fast, 1);
  EXPECT_EQ(counters.plain - plain, 3);
  ScaleCall thousand(1000);
  ASSERT_EQ(fib_kernels_launch(op, &thousand.call), FIB_KERNELS_OK);
  EXPECT_TRUE(thousand.is_right());
}

TEST(Op, TheSameShapeIsCalledWithOtherTensorsAndScalars) {
  const OpenPackage package;
  const fib_kernels_op* op = package.find();
  ScaleCall first(5, 2.0), second(5, 3.0);
  for (int i = 0; i < 4; ++i) {
    ScaleCall& call = i % 2 == 0 ? first : second;
    call.clear();
    ASSERT_EQ(fib_kernels_launch(op, &call.call), FIB_KERNELS_OK);
    EXPECT_TRUE(call.is_right());
  }
}

TEST(Op, MoreShapesThanAreKeptStayRight) {
  const OpenPackage package(OpenPackage::cpu_options(2));
  const fib_kernels_op* op = package.find();
  for (int round = 0; round < 2; ++round) {
    for (int64_t rows = 201; rows < 500; ++rows) {
      ScaleCall call(rows);
      const fib_kernels_raw_call raw = call.raw();
      ASSERT_EQ(fib_kernels_launch_raw(op, &raw), FIB_KERNELS_OK);
      ASSERT_TRUE(call.is_right()) << rows;
    }
  }
}

TEST(Op, ByteOffsetsAreHonoured) {
  const OpenPackage package;
  ScaleCall call(16);
  call.inputs[0].data = static_cast<std::byte*>(call.inputs[0].data) - 128;
  call.inputs[0].byte_offset = 128;
  ASSERT_EQ(fib_kernels_launch(package.find(), &call.call), FIB_KERNELS_OK);
  EXPECT_TRUE(call.is_right());
}

TEST(Op, StridesOfRowMajorTensorsAreTaken) {
  const OpenPackage package;
  ScaleCall call(1);
  int64_t strides[] = {77, 1};  // of the only row, so it means nothing
  call.inputs[0].strides = strides;
  ASSERT_EQ(fib_kernels_launch(package.find(), &call.call), FIB_KERNELS_OK);
  EXPECT_TRUE(call.is_right());
}

TEST(Op, WorkspaceIsThatOfAllWhoMayServeTheCall) {
  const OpenPackage package;
  const fib_kernels_op* op = package.find();
  ScaleCall call(8), rest(9);
  size_t bytes = 1;
  ASSERT_EQ(fib_kernels_workspace_bytes(op, &call.call, &bytes), FIB_KERNELS_OK);
  EXPECT_EQ(bytes, 512u);
  const fib_kernels_raw_call raw = rest.raw();
  ASSERT_EQ(fib_kernels_raw_workspace_bytes(op, &raw, &bytes), FIB_KERNELS_OK);
  EXPECT_EQ(bytes, 0u);
}

TEST(Op, WorkspaceIsAskedForWithoutData) {
  const OpenPackage package;
  ScaleCall call(8);
  for (fib_kernels_tensor& input : call.inputs) input.data = nullptr;
  call.outputs[0].data = nullptr;
  size_t bytes = 0;
  ASSERT_EQ(fib_kernels_workspace_bytes(package.find(), &call.call, &bytes), FIB_KERNELS_OK);
  EXPECT_EQ(bytes, 512u);
}

// The weights of a call laid out, as the caller keeps them.
struct Prepared {
  explicit Prepared(const fib_kernels_op* op, ScaleCall& call) {
    info.struct_size = sizeof info;
    EXPECT_EQ(fib_kernels_query_prepare(op, &call.call, &info), FIB_KERNELS_OK);
    memory.reset(static_cast<std::byte*>(std::aligned_alloc(256, info.bytes)), std::free);
    EXPECT_EQ(fib_kernels_prepare(op, &call.call, memory.get()), FIB_KERNELS_OK)
        << fib_kernels_last_error();
    call.call.prepared = memory.get();
    call.call.prepared_bytes = info.bytes;
  }
  fib_kernels_prepare_info info{};
  std::shared_ptr<std::byte> memory;
};

TEST(Op, PreparesWeightsForTheSolutionThatWantsThem) {
  const OpenPackage package;
  const fib_kernels_op* op = package.find();
  ScaleCall call(128);
  const Prepared prepared(op, call);
  EXPECT_EQ(prepared.info.bytes, 256u);  // one part, rounded up
  EXPECT_EQ(prepared.info.workspace_bytes, 32u);
  EXPECT_EQ(prepared.info.replaces_originals, 0);
  const int packed = counters.packed;
  ASSERT_EQ(fib_kernels_launch(op, &call.call), FIB_KERNELS_OK) << fib_kernels_last_error();
  EXPECT_TRUE(call.is_right());
  EXPECT_EQ(counters.packed - packed, 1);
}

TEST(Op, ACallWithoutPreparedWeightsGoesToTheFallback) {
  const OpenPackage package;
  ScaleCall call(128);
  const int plain = counters.plain;
  ASSERT_EQ(fib_kernels_launch(package.find(), &call.call), FIB_KERNELS_OK);
  EXPECT_TRUE(call.is_right());
  EXPECT_EQ(counters.plain - plain, 1);
}

TEST(Op, PreparingLooksAtWeightsAlone) {
  const OpenPackage package;
  const fib_kernels_op* op = package.find();
  ScaleCall call(128);
  call.inputs[0] = call.inputs[3] = fib_kernels_tensor{};
  call.call.outputs = nullptr;
  call.call.num_outputs = 0;
  EXPECT_EQ(Prepared(op, call).info.bytes, 256u);
}

TEST(Op, AKernelMayMakeCallsOfItsOwn) {
  static const fib_kernels_op* op;
  static bool is_inner_right;
  const OpenPackage package(OpenPackage::cpu_options(2));
  op = package.find();
  on_plain_run = [] {
    on_plain_run = nullptr;
    ScaleCall inner(20, 5.0);  // the very shape that is running
    is_inner_right = fib_kernels_launch(op, &inner.call) == FIB_KERNELS_OK && inner.is_right();
  };
  ScaleCall outer(20, 2.0);
  ASSERT_EQ(fib_kernels_launch(op, &outer.call), FIB_KERNELS_OK);
  EXPECT_TRUE(is_inner_right);
  EXPECT_TRUE(outer.is_right());
}

TEST(Op, RunsOnTheCallersThreads) {
  static int loops;
  loops = 0;
  fib_kernels_device_options options = OpenPackage::cpu_options();
  options.parallel_host = &loops;
  options.parallel_for = [](void* host, int64_t count, int64_t,
                            void (*body)(int64_t, int64_t, void*), void* context) {
    ++*static_cast<int*>(host);
    for (int64_t i = count; i-- > 0;) body(i, i + 1, context);
  };
  const OpenPackage package(options);
  ScaleCall call(50);
  ASSERT_EQ(fib_kernels_launch(package.find(), &call.call), FIB_KERNELS_OK);
  EXPECT_TRUE(call.is_right());
  EXPECT_EQ(loops, 1);
}

TEST(Op, PlansOfAClosedDeviceAreNeverMetAgain) {
  for (int i = 0; i < 200; ++i) {
    const OpenPackage package;
    ScaleCall call(4 + i % 2);
    ASSERT_EQ(fib_kernels_launch(package.find(), &call.call), FIB_KERNELS_OK);
    ASSERT_TRUE(call.is_right());
  }
}

}  // namespace
}  // namespace fib::package
