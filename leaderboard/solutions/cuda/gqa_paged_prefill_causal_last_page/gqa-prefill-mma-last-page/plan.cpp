#include <fib/plan.h>

#include "shape.h"

namespace {

class PrefillPlanner {
 public:
  PrefillPlanner(const fib::PlanProblem& problem, fib::Plan& plan)
      : problem_(problem), plan_(plan), count_(problem.axis("len_indptr") - 1) {}

  void run() {
    qo_indptr_ = problem_.host_int32("qo_indptr");
    kv_indptr_ = problem_.host_int32("kv_indptr");
    if (!qo_indptr_ || !kv_indptr_) return;  // the plan has failed
#if defined(FIB_AXIS_page_size) && FIB_AXIS_page_size > 1
    kv_last_page_len_ = problem_.host_int32("kv_last_page_len");
    if (!kv_last_page_len_) return;
#endif
    scale_ = problem_.scalar("sm_scale");
    if (!(scale_ > 0.0)) return plan_.fail("sm_scale must be positive");
    // Large tiles read keys less often; small ones give a small problem more blocks.
    warps_ = 8;
    int64_t tiles = 0;
    for (int64_t i = 0; i < count_; ++i) tiles += tiles_of(i);
    if (tiles * kKvHeads < 2 * problem_.device().multiprocessors) warps_ = 4;
    plan_launches();
  }

 private:
  int64_t queries(int64_t i) const { return qo_indptr_[i + 1] - qo_indptr_[i]; }
  int64_t keys(int64_t i) const {
    const int64_t entries = kv_indptr_[i + 1] - kv_indptr_[i];
#if defined(FIB_AXIS_page_size) && FIB_AXIS_page_size > 1
    return entries > 0 ? (entries - 1) * FIB_AXIS_page_size + kv_last_page_len_[i] : 0;
#else
    return entries;
#endif
  }
  int64_t tiles_of(int64_t i) const {
    const int tokens = tile_tokens(warps_);
    return (queries(i) + tokens - 1) / tokens;
  }

  void plan_launches() {
    Requests requests = {};
    int listed = 0, tiles = 0;
    for (int64_t i = 0; i < count_; ++i) {
      if (queries(i) == 0) continue;
      requests.first_tile[listed] = tiles;
      requests.first_query[listed] = qo_indptr_[i];
      requests.queries[listed] = static_cast<int>(queries(i));
      requests.keys[listed] = static_cast<int>(keys(i));
      requests.first_key[listed] = kv_indptr_[i];
      tiles += static_cast<int>(tiles_of(i));
      if (++listed == kMaxRequests) {
        launch(requests, listed, tiles);
        listed = tiles = 0;
      }
    }
    if (listed > 0) launch(requests, listed, tiles);
  }

  void launch(const Requests& requests, int listed, int tiles) {
    constexpr double kLog2E = 1.4426950408889634;
    fib::Launch launch = plan_.launch(warps_ == 8 ? "prefill<8>" : "prefill<4>");
    launch.grid(int64_t{tiles} * kKvHeads)
        .block(32 * warps_)
        .shared_bytes(kSharedBytes)
        .arg(problem_.input("q"))
        .arg(problem_.input(kIsPaged ? "k_cache" : "k"))
        .arg(problem_.input(kIsPaged ? "v_cache" : "v"));
    if (kIsPaged) launch.arg(problem_.input("kv_indices"));
    launch.arg(problem_.output("output"))
        .arg(problem_.output("lse"))
        .arg(static_cast<float>(scale_ * kLog2E))
        .arg(tiles)
        .arg(listed)
        .arg(requests);
  }

  const fib::PlanProblem& problem_;
  fib::Plan& plan_;
  int64_t count_;  // of requests
  int warps_ = 8;
  double scale_ = 0.0;
  const int32_t* qo_indptr_ = nullptr;
  const int32_t* kv_indptr_ = nullptr;
  const int32_t* kv_last_page_len_ = nullptr;  // with pages of several tokens
};

void plan_gqa_prefill(const fib::PlanProblem& problem, fib::Plan& plan) {
  PrefillPlanner(problem, plan).run();
}

}  // namespace

FIB_EXPORT_PLAN(plan_gqa_prefill)
