// The experts that routers choose on a card, as taps see them. Skips without a card.

#include <cmath>
#include <set>

#include "integrations/serving/traffic/capture.h"
#include "integrations/serving/traffic/expert_bytes.h"
#include "tests/integrations/serving/traffic/graph_capture.h"
#include "tests/scratch_folder.h"

namespace fib {
namespace {

constexpr int kLayers = 8, kExperts = 32, kExpertsPerToken = 4;
constexpr int kSequences = 3, kSteps = 6;  // a graph of 4 rows: one is padding
// INT4 weights and their scales: gate and up [256, 256], down [256, 128].
constexpr double kExpertBytes = 256 * 256 / 2 + 256 * 8 * 2 + 256 * 128 / 2 + 256 * 4 * 2;

// The experts of each token in each call, without padding.
class SeenExperts final : public CallTap {
 public:
  explicit SeenExperts(Dispatch& dispatch) : dispatch_(dispatch) { dispatch_.add_tap(*this); }
  ~SeenExperts() override { dispatch_.remove_tap(*this); }
  SeenExperts(const SeenExperts&) = delete;
  SeenExperts& operator=(const SeenExperts&) = delete;

  using Chosen = std::set<int32_t>;
  std::vector<std::vector<Chosen>> calls;

  void on_call(const Kernel& kernel, const KernelCall& call, double) override {
    if (!kernel.signature().name.starts_with("moe_int4")) return;
    const Operand& ids = call.inputs[1];  // int32 [tokens, 4]
    const bool is_cpu = dispatch_.device().info().target == "cpu";
    const auto* values = static_cast<const int32_t*>(is_cpu ? ids.data : ids.host);
    ASSERT_NE(values, nullptr);
    const int64_t padding = call.padding_rows != nullptr ? *call.padding_rows : 0;
    calls.emplace_back();
    for (int64_t token = 0; token < ids.shape[0] - padding; ++token, values += ids.shape[1]) {
      calls.back().emplace_back(values, values + ids.shape[1]);
    }
  }
  bool wants_computed() const override { return true; }

 private:
  Dispatch& dispatch_;
};

struct Served {
  std::vector<std::vector<SeenExperts::Chosen>> calls;
  ExpertTraffic traffic;
};

// kEnvironment: no such device here.
Result<Served> serve(const std::string& target, GraphUse graphs) {
  const auto model = FIB_TRY(open_tiny_model(target, {.graphs = graphs}));
  SeenExperts seen(*model.dispatch);
  const ExpertBytes bytes(*model.dispatch);
  FIB_CHECK(serve_together(*model.executor, kSequences, kSteps));
  return Served{std::move(seen.calls), bytes.read()};
}

void expect_counted(const Served& served) {
  EXPECT_TRUE(served.traffic.is_exact());
  EXPECT_EQ(served.calls.size(), static_cast<size_t>(kLayers * (1 + kSteps)));
  EXPECT_EQ(served.traffic.calls, served.calls.size());
  size_t tokens = 0, distinct = 0;
  for (const auto& call : served.calls) {
    SeenExperts::Chosen used;
    for (const SeenExperts::Chosen& chosen : call) {
      EXPECT_EQ(chosen.size(), static_cast<size_t>(kExpertsPerToken)) << "none twice";
      EXPECT_TRUE(*chosen.begin() >= 0 && *chosen.rbegin() < kExperts);
      used.insert(chosen.begin(), chosen.end());
    }
    tokens += call.size();
    distinct += used.size();
  }
  EXPECT_EQ(served.traffic.tokens, tokens);
  EXPECT_EQ(served.traffic.least_bytes, static_cast<double>(distinct) * kExpertBytes);
}

// Of the tokens of a call, how many have the same experts.
double share_alike(const Served& a, const Served& b) {
  size_t alike = 0, all = 0;
  EXPECT_EQ(a.calls.size(), b.calls.size());
  for (size_t call = 0; call < std::min(a.calls.size(), b.calls.size()); ++call) {
    EXPECT_EQ(a.calls[call].size(), b.calls[call].size());
    for (size_t i = 0; i < std::min(a.calls[call].size(), b.calls[call].size()); ++i, ++all) {
      alike += a.calls[call][i] == b.calls[call][i] ? 1 : 0;
    }
  }
  return static_cast<double>(alike) / static_cast<double>(std::max<size_t>(all, 1));
}

// Sums in another order choose another expert where two are nearly as likely, and what follows from
// that differs a little more; but other layers' or other tokens' experts agree once in thousands.
constexpr double kAlike = 0.75;

TEST(CudaExperts, AreThoseThatTheCpuChooses) {
  const auto by_kernel = serve("cuda", GraphUse::kNever);
  if (!by_kernel && by_kernel.error().code == ErrorCode::kEnvironment) {
    GTEST_SKIP() << by_kernel.error().to_string();
  }
  ASSERT_TRUE(by_kernel) << by_kernel.error().to_string();
  const auto by_graph = serve("cuda", GraphUse::kWhereAble);
  ASSERT_TRUE(by_graph) << by_graph.error().to_string();
  const auto on_cpu = serve("cpu", GraphUse::kNever);
  ASSERT_TRUE(on_cpu) << on_cpu.error().to_string();
  for (const auto* served : {&by_kernel, &by_graph, &on_cpu}) expect_counted(**served);
  EXPECT_GE(share_alike(*by_kernel, *on_cpu), kAlike);
  EXPECT_GE(share_alike(*by_graph, *on_cpu), kAlike);
  EXPECT_GE(share_alike(*by_graph, *by_kernel), kAlike);
}

TEST(CudaCapture, SharesAddUpToTheStep) {
  for (const GraphUse graphs : {GraphUse::kNever, GraphUse::kWhereAble}) {
    const auto model = open_tiny_model("cuda", {.graphs = graphs, .profile_every = 3});
    if (!model && model.error().code == ErrorCode::kEnvironment) {
      GTEST_SKIP() << model.error().to_string();
    }
    ASSERT_TRUE(model) << model.error().to_string();
    const ScratchFolder folder;
    const auto capture = Capture::start(*model->dispatch, {.folder = folder / "captured"});
    ASSERT_TRUE(capture) << capture.error().to_string();
    ASSERT_TRUE(serve_together(*model->executor, kSequences, 20));
    const auto summary = (*capture)->write();
    ASSERT_TRUE(summary) << summary.error().to_string();
    double of_signatures = 0.0, of_rows = 0.0;
    for (const CapturedSignature& signature : summary->signatures) {
      of_signatures += signature.time_share;
      EXPECT_EQ(signature.sampled_calls > 0, !signature.name.starts_with("gqa_paged_prefill"))
          << signature.name << ": the one step of prefill is none of the sampled";
    }
    EXPECT_NEAR(of_signatures, 1.0, 1e-6);
    const auto sets = read_workloads(folder / "captured");
    ASSERT_TRUE(sets) << sets.error().to_string();
    for (const WorkloadSet& set : *sets) {
      for (const Workload& row : set.workloads) {
        of_rows += row.original.at("fib").value("time_share", 0.0);
      }
    }
    EXPECT_NEAR(of_rows, 1.0, 1e-6);
  }
}

}  // namespace
}  // namespace fib
