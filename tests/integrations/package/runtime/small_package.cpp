#include "tests/integrations/package/runtime/small_package.h"

#include <algorithm>
#include <cstring>

#include "runners/cpu/host_identity.h"
#include "tests/integrations/package/runtime/small_kernels.h"
#include "tests/integrations/package/runtime/small_plans.h"

namespace fib::package {

Counters counters;
void (*on_plain_run)() = nullptr;

namespace {

// ---- CPU code

struct Job {
  const FibCall* call;
  const float* weight;
  float bias;
};

void scale_rows(int64_t begin, int64_t end, void* context) {
  const Job& job = *static_cast<const Job*>(context);
  const auto* x = static_cast<const float*>(job.call->inputs[0].data);
  auto* y = static_cast<float*>(job.call->outputs[0].data);
  const auto factor = static_cast<float>(job.call->scalars[2].f);
  for (int64_t i = begin * kColumns; i < end * kColumns; ++i) {
    y[i] = x[i] * job.weight[i % kColumns] * factor + job.bias;
  }
}

void scale(const FibCall* call, const void* weight, int bias) {
  Job job{call, static_cast<const float*>(weight), static_cast<float>(bias)};
  call->parallel_for(call, call->inputs[0].shape[0], 1, scale_rows, &job);
}

template <int kBias>
int plain_run(const FibCall* call) {
  ++counters.plain;
  if (on_plain_run != nullptr) on_plain_run();
  scale(call, call->inputs[1].data, kBias);
  return 0;
}

template <int kBias>
int fast_run(const FibCall* call) {
  ++counters.fast;
  if (call->inputs[0].shape[0] == 7) return 3;
  std::memset(call->workspace, 0xA5, call->workspace_bytes);  // all of it is there
  scale(call, call->inputs[1].data, kBias);
  return 0;
}
size_t fast_workspace(const FibCall* call) {
  return 64 * static_cast<size_t>(call->inputs[0].shape[0]);
}

template <int kBias>
int packed_run(const FibCall* call) {
  ++counters.packed;
  scale(call, call->prepared, kBias);
  return 0;
}
size_t packed_prepared(const FibCall*) { return kColumns * sizeof(float); }
size_t packed_workspace(const FibCall*) { return 32; }
int packed_prepare(const FibCall* call) {
  std::memcpy(call->workspace, call->inputs[1].data, kColumns * sizeof(float));
  std::memcpy(call->prepared, call->workspace, kColumns * sizeof(float));
  return 0;
}

int refuser_run(const FibCall*) {
  ++counters.refuser;
  return 9;
}

int never_run(const FibCall*) { return 1; }

// ---- The table

template <class T, size_t kSize>
constexpr Rows<T> rows(const T (&array)[kSize]) {
  return {array, kSize};
}

constexpr fib_kernels_axis_info kAxes[] = {{"rows", -1}, {"columns", kColumns}, {"len", -1}};
constexpr const char* kRowsColumns[] = {"rows", "columns"};
constexpr const char* kColumnsOnly[] = {"columns"};
constexpr const char* kLen[] = {"len"};
constexpr fib_kernels_dtype kFloat32 = {FIB_FLOAT, 32, 1}, kInt32 = {FIB_INT, 32, 1};
constexpr fib_kernels_tensor_info kInputs[] = {{"x", kFloat32, 2, kRowsColumns, 0, 0, 0, -1},
                                               {"weight", kFloat32, 1, kColumnsOnly, 0, 1, 0, -1},
                                               {"factor", kFloat32, 0, nullptr, 1, 0, 0, -1},
                                               {"starts", kInt32, 1, kLen, 0, 0, 1, -1}};
constexpr fib_kernels_tensor_info kOutputs[] = {{"y", kFloat32, 2, kRowsColumns, 0, 0, 0, -1}};
constexpr int32_t kInputAxes[] = {0, 1, 1, 2};
constexpr int32_t kOutputAxes[] = {0, 1};
constexpr double kOwn[] = {1.0};
constexpr const char* kConstraints[] = {"len == rows + 1"};
constexpr fib_kernels_parameter kBias1[] = {{"bias", 1.0}}, kBias2[] = {{"bias", 2.0}};

constexpr fib_kernels_signature_info info_with(const fib_kernels_parameter* parameters) {
  return {sizeof(fib_kernels_signature_info),
          sizeof(fib_kernels_axis_info),
          sizeof(fib_kernels_tensor_info),
          kScale,
          "scale",
          3,
          4,
          1,
          1,
          kAxes,
          kInputs,
          kOutputs,
          parameters};
}

enum Index : uint32_t { kPlain, kFast, kPacked, kRefuser, kForeign };

constexpr int64_t kNoEnd = INT64_MAX;
constexpr AxisRange kFew[] = {{1, 8}, {0, kNoEnd}}, kMany[] = {{100, 200}, {0, kNoEnd}},
                    kThousand[] = {{1000, 1000}, {0, kNoEnd}};
constexpr BucketRow kBuckets[] = {
    {rows(kFew), kFast}, {rows(kMany), kPacked}, {rows(kThousand), kRefuser}};

const std::string& host_key() {
  static const std::string key = hardware_key(host_processor());
  return key;
}
const char* host_flags() {
  static const std::string flags = host_processor().flags;
  return flags.c_str();
}

const HardwareRow kHardware[] = {{"Another_Card", rows(kBuckets)},
                                 {host_key().c_str(), rows(kBuckets)},
                                 {kFakeCard, rows(kBuckets)}};
constexpr uint32_t kFallback[] = {kForeign, kPlain};

// The best level comes first and needs what no processor has.
template <int kBias>
const CpuCode kPlainCode[] = {{"native", plain_run<kBias>, nullptr, nullptr, nullptr, ""}};
template <int kBias>
const CpuCode kFastCode[] = {
    {"native", never_run, nullptr, nullptr, nullptr, "sse2 no_such_flag"},
    {"x86-64-v9", never_run, nullptr, nullptr, nullptr},
    {"native", fast_run<kBias>, fast_workspace, nullptr, nullptr, host_flags()}};
template <int kBias>
const CpuCode kPackedCode[] = {
    {"native", packed_run<kBias>, packed_workspace, packed_prepared, packed_prepare, host_flags()}};
const CpuCode kRefuserCode[] = {{"native", refuser_run, nullptr, nullptr, nullptr, ""}};
const CpuCode kForeignCode[] = {{"native", never_run, nullptr, nullptr, nullptr}};

const auto* const kBinary = reinterpret_cast<const unsigned char*>(kSmallKernels);
constexpr KernelSymbol kKernels[] = {{"plain<4>", "plain_4"},
                                     {"fast<4>", "fast_4"},
                                     {"packed<4>", "packed_4"},
                                     {"lay_out", "lay_out_0"}};
const DeviceBinary kBinaries[] = {{"sm_80", nullptr, 0, {}},
                                  {"sm_90a", kBinary, sizeof kSmallKernels, rows(kKernels)}};
const DeviceBinary kForeignBinaries[] = {
    {"sm_100a", kBinary, sizeof kSmallKernels, rows(kKernels)}};

template <int kBias>
const SolutionRow kSolutions[] = {
    {"plain",
     "key-plain",
     "house",
     "Apache-2.0",
     {plan_plain, rows(kBinaries)},
     rows(kPlainCode<kBias>)},
    {"fast", "key-fast", "someone", "MIT", {plan_fast, rows(kBinaries)}, rows(kFastCode<kBias>)},
    {"packed",
     "key-packed",
     "someone",
     "MIT",
     {plan_packed, rows(kBinaries)},
     rows(kPackedCode<kBias>)},
    {"refuser",
     "key-refuser",
     "someone",
     "MIT",
     {plan_refuser, rows(kBinaries)},
     rows(kRefuserCode)},
    {"foreign",
     "key-foreign",
     "someone",
     "MIT",
     {plan_plain, rows(kForeignBinaries)},
     rows(kForeignCode)}};

template <int kBias>
SignatureRow signature(const fib_kernels_parameter* parameters) {
  return {.info = info_with(parameters),
          .input_axes = rows(kInputAxes),
          .output_axes = rows(kOutputAxes),
          .own_parameters = rows(kOwn),
          .solutions = rows(kSolutions<kBias>),
          .hardware = rows(kHardware),
          .cuda_fallback = rows(kFallback),
          .cpu_fallback = rows(kFallback),
          .constraints = rows(kConstraints)};
}

// Initialised in the order of this file, as constants that ask the processor have to be.
const SignatureRow kSignatures[] = {signature<1>(kBias1), signature<2>(kBias2)};

}  // namespace
}  // namespace fib::package

extern "C" const fib::package::PackageTable fib_kernels_table = {
    .table_version = fib::package::kTableVersion,
    .name = "small",
    .version = "1.2.3",
    .manifest = "{\"name\": \"small\"}",
    .signatures = {fib::package::kSignatures, 2}};
