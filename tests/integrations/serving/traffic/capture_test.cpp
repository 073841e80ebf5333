// Captures of calls made by hand, read back as the workloads they should be.

#include "integrations/serving/traffic/capture.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <set>

#include "integrations/serving/traffic/expert_bytes.h"
#include "signatures/base/file.h"
#include "tests/integrations/package/package_fixture.h"
#include "workloads/workload_set.h"

namespace fib {
namespace {

// Computes nothing.
class IdleKernel final : public Kernel {
 public:
  explicit IdleKernel(const std::string& name) : signature_(must(catalog().find(name))) {}
  const Signature& signature() const override { return *signature_; }
  std::string_view solution() const override { return "idle"; }
  Result<void> run(const KernelCall&) override { return {}; }
  Result<std::unique_ptr<PreparedWeights>> prepare(std::span<const Operand>) override {
    return std::unique_ptr<PreparedWeights>();
  }

 private:
  SignaturePtr signature_;
};

// A card, going by what it says; its memory is the host's. Nothing runs there.
class CardOfWords final : public ServingDevice {
 public:
  const ServingDeviceInfo& info() const override { return info_; }
  size_t free_bytes() const override { return 0; }
  Result<void> upload(std::byte*, const std::byte*, size_t) override { return {}; }
  Result<void> download(std::byte*, const std::byte*, size_t) override { return {}; }
  Result<void> copy(std::byte*, const std::byte*, size_t) override { return {}; }
  Result<void> fill(std::byte*, int, size_t) override { return {}; }
  Result<void> fill_random(std::byte*, size_t, float, uint64_t) override { return {}; }
  Result<void> synchronize() override { return {}; }
  Result<std::unique_ptr<DeviceGraph>> capture(const std::function<Result<void>()>&) override {
    return fail(ErrorCode::kUnsupported, "no graphs here");
  }
  bool can_capture() const override { return false; }
  std::unique_ptr<DeviceTimer> make_timer() override { return nullptr; }

 private:
  Result<std::byte*> allocate_bytes(size_t bytes) override { return new std::byte[bytes]; }
  void free_bytes_at(std::byte* data) override { delete[] data; }
  Result<std::byte*> allocate_host_bytes(size_t bytes) override { return new std::byte[bytes]; }
  void free_host_bytes_at(std::byte* data) override { delete[] data; }
  const ServingDeviceInfo info_{
      .target = "cuda", .name = "a card", .architecture = {}, .hardware = {}};
};

// Has a device, and taps that a test calls itself.
class TapOnlyDispatch final : public Dispatch {
 public:
  explicit TapOnlyDispatch(std::unique_ptr<ServingDevice> device = must(open_cpu_device(1)))
      : device_(std::move(device)) {}
  ServingDevice& device() override { return *device_; }
  Result<Kernel*> resolve(const SignatureRequest& request) override {
    return fail(ErrorCode::kNotFound, "none here", request.name);
  }
  Result<void> prefetch(const std::vector<SignatureRequest>&, const Progress&) override {
    return {};
  }
  void add_tap(CallTap& tap) override { taps.insert(&tap); }
  void remove_tap(CallTap& tap) override { taps.erase(&tap); }
  Result<std::unique_ptr<DeviceGraph>> capture(const std::function<Result<void>()>&) override {
    return fail(ErrorCode::kUnsupported, "no graphs here");
  }
  std::vector<const Kernel*> kernels() const override { return {}; }

  std::set<CallTap*> taps;

 private:
  const std::unique_ptr<ServingDevice> device_;
};

constexpr const char* kDecode = "gqa_paged_decode_h4_kv2_d64_ps16";
constexpr const char* kNorm = "rmsnorm_h256";
constexpr const char* kExperts = "moe_int4_g32_topk4_e32_h256_i128";

class CaptureTest : public ::testing::Test {
 protected:
  std::unique_ptr<Capture> start(CaptureOptions options = {}) {
    options.folder = folder_ / "captured";
    return must(Capture::start(dispatch_, std::move(options)));
  }
  void call(Capture& capture, const Kernel& kernel, const DeviceProblem::Axes& axes,
            double host_ns = 100.0) {
    DeviceProblem problem(dispatch_.device(), kernel.signature().name, axes);
    capture.on_call(kernel, problem.call(), host_ns);
  }
  void call_norm(Capture& capture, int64_t rows, double host_ns = 100.0) {
    call(capture, norm_, {{"batch_size", rows}}, host_ns);
  }
  static DeviceProblem::Axes decode_axes(int64_t rows, int64_t pages) {
    return {{"batch_size", rows},
            {"num_pages", 100},
            {"len_indptr", rows + 1},
            {"num_kv_indices", pages}};
  }
  std::vector<Workload> rows(const std::string& signature) {
    return must(read_workloads(folder_ / "captured", signature)).at(0).workloads;
  }
  static double weight_of(const std::vector<Workload>& rows) {
    return std::accumulate(rows.begin(), rows.end(), 0.0,
                           [](double sum, const Workload& row) { return sum + row.weight; });
  }
  static size_t blobs_of(const std::vector<Workload>& rows, const std::string& input) {
    return static_cast<size_t>(std::count_if(rows.begin(), rows.end(), [&](const Workload& row) {
      return std::any_of(row.inputs.begin(), row.inputs.end(), [&](const auto& entry) {
        return entry.first == input && std::holds_alternative<SafetensorsInput>(entry.second);
      });
    }));
  }

  ScratchFolder folder_;
  TapOnlyDispatch dispatch_;
  IdleKernel decode_{kDecode}, norm_{kNorm}, experts_{kExperts};
};

TEST_F(CaptureTest, IntegersComeBackAsTheyWere) {
  const auto capture = start({.source = "a test"});
  DeviceProblem problem(dispatch_.device(), kDecode, decode_axes(3, 7));
  problem.input("sm_scale").scalar = 0.125;
  capture->on_call(decode_, problem.call(), 1000.0);
  must(capture->write());

  const std::vector<Workload> captured = rows(kDecode);
  ASSERT_EQ(captured.size(), 1u);
  const InputPlan plan = must(plan_inputs(must(bind(must(catalog().find(kDecode)), captured[0]))));
  EXPECT_TRUE(plan.notes.empty()) << plan.notes.at(0);
  size_t compared = 0;
  for (size_t i = 0; i < plan.structure.size(); ++i) {
    if (!is_integer(plan.structure[i].desc.dtype)) continue;
    const InputBytes bytes = std::get<InputBytes>(plan.structure[i].source);
    EXPECT_TRUE(std::equal(bytes->begin(), bytes->end(), problem.inputs()[i].data))
        << plan.structure[i].desc.name;
    ++compared;
  }
  EXPECT_EQ(compared, 3u);
  EXPECT_EQ(std::get<double>(plan.structure.back().source), 0.125);
  EXPECT_EQ(captured[0].original["fib"]["source"], "a test");
  EXPECT_FALSE(captured[0].original["fib"].contains("missing"));
  EXPECT_TRUE(
      read_traces(folder_ / "captured" / "workloads/gqa_paged" / (kDecode + std::string(".jsonl")),
                  Strictness::kStrict));
}

TEST_F(CaptureTest, CallsAlikeAreOneRowWithTheirNumber) {
  const auto capture = start({.group = CaptureGroup::kLengths});
  for (int i = 0; i < 5; ++i) call_norm(*capture, 3);
  for (const int64_t size : {256, 257, 270, 287}) call_norm(*capture, size);
  call_norm(*capture, 288);
  must(capture->write());
  const std::vector<Workload> captured = rows(kNorm);
  ASSERT_EQ(captured.size(), 3u);
  for (const Workload& row : captured) {
    const int64_t size = *row.axis("batch_size");
    EXPECT_EQ(row.weight, size == 3 ? 5.0 : size == 288 ? 1.0 : 4.0) << size;
  }
}

TEST_F(CaptureTest, GroupsByCallAndByShape) {
  {
    const auto capture = start({.group = CaptureGroup::kShape});
    for (const int64_t size : {256, 257, 257, 270}) call_norm(*capture, size);
    must(capture->write());
    EXPECT_EQ(rows(kNorm).size(), 3u);
    EXPECT_EQ(weight_of(rows(kNorm)), 4.0);
  }
  std::filesystem::remove_all(folder_ / "captured");
  const auto capture = start({.group = CaptureGroup::kCall});
  for (const int64_t size : {256, 257, 257, 270}) call_norm(*capture, size);
  const CaptureSummary summary = must(capture->write());
  EXPECT_EQ(summary.signatures.at(0).groups, 4u);
  EXPECT_EQ(rows(kNorm).size(), 3u) << "equal rows have one id, so they are one";
  EXPECT_EQ(weight_of(rows(kNorm)), 4.0);
}

TEST_F(CaptureTest, LongRequestsAreApartFromManyShortOnes) {
  const auto capture = start();
  // 40 pages: of one request and three short ones, or of four alike.
  for (const std::vector<int32_t>& offsets :
       {std::vector<int32_t>{0, 37, 38, 39, 40}, std::vector<int32_t>{0, 10, 20, 30, 40}}) {
    DeviceProblem problem(dispatch_.device(), kDecode, decode_axes(4, 40));
    std::copy_n(reinterpret_cast<const std::byte*>(offsets.data()), 5 * sizeof(int32_t),
                problem.input("kv_indptr").data);
    problem.input("kv_indptr").host = offsets.data();
    capture->on_call(decode_, problem.call(), 100.0);
  }
  must(capture->write());
  EXPECT_EQ(rows(kDecode).size(), 2u);
}

TEST_F(CaptureTest, KeepsTheRowsThatMatterAndAllCalls) {
  const auto capture = start({.group = CaptureGroup::kShape, .max_rows = 3});
  for (int64_t size = 1; size <= 40; ++size) call_norm(*capture, size, size == 20 ? 1e6 : 100.0);
  const CaptureSummary summary = must(capture->write());
  const std::vector<Workload> captured = rows(kNorm);
  ASSERT_EQ(captured.size(), 3u);
  EXPECT_EQ(captured[0].axis("batch_size"), 20) << "what takes the most time comes first";
  EXPECT_EQ(captured[1].axis("batch_size"), 1) << "then what is far from it";
  EXPECT_EQ(weight_of(captured), 40.0);
  EXPECT_EQ(summary.signatures.at(0).calls, 40u);
  EXPECT_EQ(summary.signatures.at(0).groups, 40u);
}

TEST_F(CaptureTest, MemoryIsBounded) {
  const auto capture = start({.group = CaptureGroup::kShape, .max_groups = 2, .max_bytes = 64});
  for (const int64_t tokens : {2, 3, 4}) call(*capture, experts_, {{"num_tokens", tokens}});
  const CaptureSummary summary = must(capture->write());
  EXPECT_EQ(summary.signatures.at(0).calls_uncaptured, 1u);
  // 2 tokens have 32 bytes of ids, 3 have 48, which is too much in all.
  EXPECT_EQ(summary.bytes_kept, 32u);
  const std::vector<Workload> captured = rows(kExperts);
  ASSERT_EQ(captured.size(), 2u);
  EXPECT_EQ(blobs_of(captured, "topk_ids"), 1u);
  for (const Workload& row : captured) {
    EXPECT_EQ(row.original["fib"].contains("missing"), *row.axis("num_tokens") == 3);
    // What is missing is made when the row is judged.
    must(plan_inputs(must(bind(must(catalog().find(kExperts)), row))));
  }
}

TEST_F(CaptureTest, FloatsByPolicy) {
  const auto count = [&](FloatInputs floats) {
    std::filesystem::remove_all(folder_ / "captured");
    const auto capture = start({.floats = floats, .group = CaptureGroup::kCall});
    uint64_t seed = 0;
    for (const int64_t size : {2, 2, 3}) {
      DeviceProblem problem(dispatch_.device(), kNorm, {{"batch_size", size}}, ++seed);
      capture->on_call(norm_, problem.call(), 100.0);
    }
    must(capture->write());
    EXPECT_EQ(blobs_of(rows(kNorm), "weight"), 0u) << "weights are the model's, not the call's";
    return blobs_of(rows(kNorm), "hidden_states");
  };
  EXPECT_EQ(count(FloatInputs::kNone), 0u);
  EXPECT_EQ(count(FloatInputs::kFirstOfShape), 2u);
  EXPECT_EQ(count(FloatInputs::kAll), 3u);
}

TEST_F(CaptureTest, InputsThatTheCallWritesOverAreMissing) {
  const auto capture = start({.floats = FloatInputs::kAll});
  DeviceProblem problem(dispatch_.device(), kNorm, {{"batch_size", 2}});
  problem.outputs()[0].data = problem.inputs()[0].data;
  capture->on_call(norm_, problem.call(), 100.0);
  must(capture->write());
  EXPECT_EQ(blobs_of(rows(kNorm), "hidden_states"), 0u);
  EXPECT_EQ(rows(kNorm)[0].original["fib"]["missing"]["hidden_states"], "the call writes over it");
}

TEST_F(CaptureTest, WritesAgainAsTrafficGoesOn) {
  const auto capture = start();
  call(*capture, experts_, {{"num_tokens", 16}});
  must(capture->write());
  const std::string first = rows(kExperts).at(0).uuid;
  must(capture->write());
  EXPECT_EQ(rows(kExperts).at(0).uuid, first);
  call(*capture, experts_, {{"num_tokens", 17}});  // alike, and the 2nd of its group
  must(capture->write());
  EXPECT_EQ(rows(kExperts).at(0).axis("num_tokens"), 17);
  EXPECT_EQ(rows(kExperts).at(0).weight, 2.0);
  size_t files = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(folder_ / "captured" / "blob")) {
    files += entry.is_regular_file() ? 1 : 0;
  }
  EXPECT_EQ(files, 1u) << "the blob of the row that gave way is gone";
}

TEST_F(CaptureTest, TimeSharesAddUp) {
  const auto capture = start();
  call_norm(*capture, 2, 100.0);
  call_norm(*capture, 9, 200.0);
  call(*capture, experts_, {{"num_tokens", 1}}, 700.0);
  const CaptureSummary summary = must(capture->write());
  ASSERT_EQ(summary.signatures.size(), 2u);
  EXPECT_EQ(summary.signatures[0].name, kExperts);
  EXPECT_DOUBLE_EQ(summary.signatures[0].time_share, 0.7);
  double sum = 0.0;
  for (const Workload& row : rows(kNorm)) sum += row.original["fib"]["time_share"].get<double>();
  EXPECT_DOUBLE_EQ(sum, 0.3);
  const Json json = must(read_json_file(folder_ / "captured" / "capture.json"));
  EXPECT_EQ(json["signatures"][0]["name"], kExperts);
  EXPECT_EQ(json["target"], "cpu");
}

// A card's calls, made of problems in the host's memory.
class CardCaptureTest : public CaptureTest {
 protected:
  std::unique_ptr<Capture> start_on_card() {
    return must(Capture::start(card_, {.folder = folder_ / "captured"}));
  }
  void expect_share(const std::string& signature, double share) {
    double sum = 0.0;
    for (const Workload& row : rows(signature)) {
      sum += row.original["fib"].value("time_share", 0.0);
    }
    EXPECT_NEAR(sum, share, 1e-9) << signature;
  }

  TapOnlyDispatch card_{std::make_unique<CardOfWords>()};
  DeviceProblem few_{dispatch_.device(), kNorm, {{"batch_size", 2}}};
  DeviceProblem many_{dispatch_.device(), kNorm, {{"batch_size", 900}}};
  DeviceProblem tokens_{dispatch_.device(), kExperts, {{"num_tokens", 3}}};
};

TEST_F(CardCaptureTest, SharesGoByTheSampledCalls) {
  const auto capture = start_on_card();
  EXPECT_TRUE(capture->wants_computed());
  for (int i = 0; i < 10; ++i) capture->on_call(norm_, few_.call(), 5000.0);
  for (int i = 0; i < 4; ++i) capture->on_call(norm_, many_.call(), 5000.0);
  for (int i = 0; i < 10; ++i) capture->on_call(experts_, tokens_.call(), 5000.0);
  capture->on_device_time(norm_, few_.call(), 30.0);
  capture->on_device_time(norm_, few_.call(), 10.0);
  capture->on_device_time(norm_, many_.call(), 200.0);
  capture->on_device_time(experts_, tokens_.call(), 100.0);
  const CaptureSummary summary = must(capture->write());
  // Ten norms of 20, four of 200, ten of 100.
  ASSERT_EQ(summary.signatures.size(), 2u);
  EXPECT_EQ(summary.signatures[0].sampled_calls + summary.signatures[1].sampled_calls, 4u);
  for (const CapturedSignature& signature : summary.signatures) {
    EXPECT_DOUBLE_EQ(signature.device_s, 1e-6);
    EXPECT_DOUBLE_EQ(signature.time_share, 0.5);
    expect_share(signature.name, 0.5);
  }
  for (const Workload& row : rows(kNorm)) {
    EXPECT_NEAR(row.original["fib"]["time_share"].get<double>(),
                row.axis("batch_size") == 2 ? 0.1 : 0.4, 1e-9);
  }
}

TEST_F(CardCaptureTest, RowsWithoutASampleTakeWhatTheirSignatureDoes) {
  const auto capture = start_on_card();
  capture->on_call(norm_, few_.call(), 5000.0);
  capture->on_call(norm_, many_.call(), 5000.0);
  capture->on_device_time(norm_, many_.call(), 200.0);
  EXPECT_DOUBLE_EQ(must(capture->write()).signatures.at(0).device_s, 4e-7);
  EXPECT_EQ(rows(kNorm).size(), 2u);
  for (const Workload& row : rows(kNorm)) {
    EXPECT_NEAR(row.original["fib"]["time_share"].get<double>(), 0.5, 1e-9);
  }
}

TEST_F(CardCaptureTest, WithoutSamplesThereAreNoShares) {
  const auto capture = start_on_card();
  capture->on_call(norm_, few_.call(), 5000.0);
  EXPECT_EQ(must(capture->write()).signatures.at(0).time_share, 0.0);
  EXPECT_FALSE(rows(kNorm).at(0).original["fib"].contains("time_share"));
}

TEST_F(CardCaptureTest, ChosenExpertsAreKeptAndCounted) {
  const auto capture = start_on_card();
  ExpertBytes bytes(card_);
  EXPECT_TRUE(bytes.wants_computed());
  const std::array<int32_t, 12> ids = {3, 1, 4, 5, 9, 2, 6, 5, 31, 30, 29, 28};
  const int32_t padding = 1;
  tokens_.input("topk_ids").host = ids.data();
  KernelCall call = tokens_.call();
  call.padding_rows = &padding;
  capture->on_call(experts_, call, 100.0);
  bytes.on_call(experts_, call, 100.0);

  EXPECT_EQ(bytes.read().tokens, 2u) << "the third row is a graph's padding";
  EXPECT_TRUE(bytes.read().is_exact());
  constexpr double kExpertBytes = 256 * 256 / 2 + 256 * 8 * 2 + 256 * 128 / 2 + 256 * 4 * 2;
  EXPECT_EQ(bytes.read().least_bytes, 7 * kExpertBytes);
  must(capture->write());
  const Workload row = rows(kExperts).at(0);
  EXPECT_EQ(blobs_of({row}, "topk_ids"), 1u);
  EXPECT_FALSE(row.original["fib"].contains("missing"));
  EXPECT_EQ(row.axis("num_tokens"), 3) << "as the kernel saw it";

  tokens_.input("topk_ids").host = nullptr;  // a call outside of a step
  bytes.on_call(experts_, tokens_.call(), 100.0);
  EXPECT_FALSE(bytes.read().is_exact());
}

TEST_F(CaptureTest, LeavesOtherCapturesAlone) {
  start();
  EXPECT_TRUE(dispatch_.taps.empty()) << "its tap goes with it";
  std::filesystem::create_directories(folder_ / "captured/workloads");
  const auto again = Capture::start(dispatch_, {.folder = folder_ / "captured"});
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kConflict);
  must(write_file_atomically(folder_ / "file", std::string_view("x")));
  const auto in_file = Capture::start(dispatch_, {.folder = folder_ / "file/captured"});
  ASSERT_FALSE(in_file);
  EXPECT_EQ(in_file.error().code, ErrorCode::kIo);
}

// A graph's page table is as long as it may ever get, and its values are those of the launch.
TEST_F(CaptureTest, GraphsShowTheValuesOfEachLaunch) {
  const auto capture = start();
  DeviceProblem problem(dispatch_.device(), kDecode, decode_axes(3, 50));
  std::array<int32_t, 4> offsets = {0, 1, 3, 3};
  std::array<int32_t, 50> pages = {7, 8, 9, 55};  // the last ones are of another launch
  std::array<int32_t, 3> lengths = {4, 16, 0};
  problem.input("kv_indptr").host = offsets.data();
  problem.input("kv_indices").host = pages.data();
  problem.input("kv_last_page_len").host = lengths.data();
  KernelCall replayed = problem.call();
  replayed.values = InputValues::kOfEachLaunch;
  capture->on_call(decode_, replayed, 100.0);
  offsets = {0, 20, 40, 41};
  std::iota(pages.begin(), pages.end(), 30);
  lengths = {1, 2, 3};
  capture->on_call(decode_, replayed, 100.0);
  must(capture->write());

  std::vector<Workload> captured = rows(kDecode);
  ASSERT_EQ(captured.size(), 2u);
  std::sort(captured.begin(), captured.end(), [](const Workload& a, const Workload& b) {
    return a.axis("num_kv_indices") < b.axis("num_kv_indices");
  });
  EXPECT_EQ(captured[0].axis("num_kv_indices"), 3) << "not the 50 that there is room for";
  EXPECT_EQ(captured[1].axis("num_kv_indices"), 41);
  const Problem problem_of_row = must(fib::bind(must(catalog().find(kDecode)), captured[0]));
  const InputPlan plan = must(plan_inputs(problem_of_row));
  for (const auto& [desc, source] : plan.structure) {
    if (desc.name != "kv_indices") continue;
    const InputBytes bytes = std::get<InputBytes>(source);
    const auto* const ids = reinterpret_cast<const int32_t*>(bytes->data());
    EXPECT_EQ(std::vector<int32_t>(ids, ids + desc.num_elements()),
              (std::vector<int32_t>{7, 8, 9}));
  }
  EXPECT_FALSE(captured[0].original["fib"].contains("missing"));
}

// A card's memory can't be read in the middle of its queue: host copies are all there is.
TEST_F(CaptureTest, WithoutTheDevicesMemory) {
  DeviceProblem problem(dispatch_.device(), kDecode, decode_axes(3, 7));
  const CallReader reader(decode_.signature(), CallReader::DeviceMemory::kHidden);
  CapturedCall row{.calls = 8};
  CallReader::Budget budget{1 << 20};
  reader.read_axes(problem.call(), row.axes);
  reader.read_inputs(problem.call(), CallReader::Part::kIntegers, budget, row);
  reader.read_scalars(problem.call(), row);
  std::vector<int64_t> longest;
  reader.append_longest(problem.call(), longest);
  EXPECT_EQ(longest.size(), 1u) << "kv_indptr has a host copy";
  const RenderedRow rendered = render_row(row, {.signature = decode_.signature()});
  EXPECT_EQ(rendered.tensors.size(), 2u);
  EXPECT_TRUE(rendered.trace.workload.original["fib"]["missing"].contains("kv_indices"));
  EXPECT_FALSE(rendered.trace.workload.original["fib"].contains("time_share"));

  problem.input("kv_indptr").host = nullptr;
  longest.clear();
  reader.append_longest(problem.call(), longest);
  EXPECT_TRUE(longest.empty());
}

}  // namespace
}  // namespace fib
