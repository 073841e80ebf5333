#include <fib/plan.h>

#include "shape.h"

namespace {

struct Request {
  int64_t begin;  // position of the first token, as in Chunks
  int64_t tokens;
};

// Blocks that run at once.
int64_t places_of(const FibPlanDevice& device) {
  const int64_t per_multiprocessor =
      device.max_shared_bytes_per_multiprocessor / (kSharedBytes + 1024);
  return device.multiprocessors * (per_multiprocessor > 0 ? per_multiprocessor : 1);
}

// Tokens a chunk: one chunk for each place where a block can run, so that all end together; several
// of about a thousand where there is more work than that; but enough to be worth a merge.
int64_t chunk_tokens(int64_t total_tokens, const FibPlanDevice& device) {
  const int64_t share = total_tokens * kHeadBlocks / places_of(device);
  const int64_t rounds = share / 1024 + 1;
  const int64_t wanted = (share / rounds + 63) / 64 * 64;
  return wanted < 128 ? 128 : wanted;
}

class DecodePlanner {
 public:
  DecodePlanner(const fib::PlanProblem& problem, fib::Plan& plan)
      : problem_(problem), plan_(plan), batch_(problem.axis("batch_size")) {}

  void run() {
    if (batch_ >= 1 << 17) return plan_.fail("batch_size of 131072 or more");
    if (batch_ == 0) return;
    if (!problem_.has_host("kv_indptr")) return plan_live();
    if (!problem_.has_host("kv_last_page_len")) return plan_live();
    if (!read_requests()) return;
    int64_t total_tokens = 0;
    for (int64_t i = 0; i < batch_; ++i) total_tokens += request(i).tokens;
    limit_ = chunk_tokens(total_tokens, problem_.device());
    int64_t slots = 0;
    for (int64_t i = 0; i < batch_; ++i) slots += chunks_of(request(i));
    partial_output_ = plan_.workspace(slots * kHeads * kHeadDim * 4);
    partial_lse_ = plan_.workspace(slots * kHeads * 4);
    plan_decode();
    plan_merge();
  }

 private:
  bool read_requests() {
    kv_indptr_ = problem_.host_int32("kv_indptr");
    kv_last_page_len_ = problem_.host_int32("kv_last_page_len");
    return kv_indptr_ != nullptr && kv_last_page_len_ != nullptr;  // else the plan has failed
  }
  Request request(int64_t i) const {
    const int64_t pages = kv_indptr_[i + 1] - kv_indptr_[i];
    const int64_t tokens = pages > 0 ? (pages - 1) * kPageSize + kv_last_page_len_[i] : 0;
    return {int64_t{kv_indptr_[i]} * kPageSize, tokens};
  }

  int64_t chunks_of(const Request& request) const {
    return request.tokens == 0 ? 1 : (request.tokens + limit_ - 1) / limit_;
  }

  // From the axes alone: the kernels cut the work where it runs, in at most a chunk for each place
  // and one more a request.
  void plan_live() {
    const int64_t capacity = problem_.axis("num_kv_indices") * kPageSize;
    const int64_t most = (capacity + kMinLiveTokens - 1) / kMinLiveTokens;
    int64_t places = (places_of(problem_.device()) + kHeadBlocks - 1) / kHeadBlocks;
    if (places > most) places = most;
    if (places < 1) places = 1;
    const int64_t chunks = places + batch_;
    partial_output_ = plan_.workspace(chunks * kHeads * kHeadDim * 4);
    partial_lse_ = plan_.workspace(chunks * kHeads * 4);
    const fib::PlanPointer slots = plan_.workspace(batch_ * 8);
    plan_.launch("decode_live")
        .grid(chunks * kHeadBlocks)
        .block(32, kWarps)
        .shared_bytes(kSharedBytes)
        .arg(problem_.input("q"))
        .arg(problem_.input("k_cache"))
        .arg(problem_.input("v_cache"))
        .arg(problem_.input("kv_indptr"))
        .arg(problem_.input("kv_indices"))
        .arg(problem_.input("kv_last_page_len"))
        .arg(problem_.output("output"))
        .arg(problem_.output("lse"))
        .arg(partial_output_)
        .arg(partial_lse_)
        .arg(slots)
        .arg(scale_log2())
        .arg(static_cast<int>(batch_))
        .arg(static_cast<int>(places));
    plan_.launch("merge_live")
        .grid(batch_ * kHeads)
        .block(kHeadDim)
        .programmatic()
        .arg(partial_output_)
        .arg(partial_lse_)
        .arg(problem_.output("output"))
        .arg(problem_.output("lse"))
        .arg(slots);
  }

  float scale_log2() const {
    constexpr double kLog2E = 1.4426950408889634;
    return static_cast<float>(problem_.scalar("sm_scale") * kLog2E);
  }

  void plan_decode() {
    Chunks chunks = {};
    int count = 0, first_slot = 0;
    for (int64_t i = 0; i < batch_; ++i) {
      const Request whole = request(i);
      const int64_t parts = chunks_of(whole);
      // Even parts of whole tiles for each warp.
      const int64_t step = ((whole.tokens + parts - 1) / parts + 63) / 64 * 64;
      for (int64_t part = 0; part < parts; ++part) {
        const int64_t from = part * step;
        const int64_t to = from + step < whole.tokens ? from + step : whole.tokens;
        chunks.begin[count] = static_cast<unsigned>(whole.begin + from);
        chunks.request[count] = static_cast<unsigned>(i) << 15 |
                                static_cast<unsigned>(parts == 1) << 14 |
                                static_cast<unsigned>(to - from);
        if (++count == kMaxChunks) {
          launch_decode(chunks, count, first_slot);
          first_slot += count;
          count = 0;
        }
      }
    }
    if (count > 0) launch_decode(chunks, count, first_slot);
  }

  void launch_decode(const Chunks& chunks, int count, int first_slot) {
    plan_.launch("decode")
        .grid(int64_t{count} * kHeadBlocks)
        .block(32, kWarps)
        .shared_bytes(kSharedBytes)
        .arg(problem_.input("q"))
        .arg(problem_.input("k_cache"))
        .arg(problem_.input("v_cache"))
        .arg(problem_.input("kv_indices"))
        .arg(problem_.output("output"))
        .arg(problem_.output("lse"))
        .arg(partial_output_)
        .arg(partial_lse_)
        .arg(scale_log2())
        .arg(first_slot)
        .arg(chunks);
  }

  void plan_merge() {
    Merges merges = {};
    int count = 0;
    int64_t slot = 0;
    for (int64_t i = 0; i < batch_; ++i) {
      const int64_t parts = chunks_of(request(i));
      if (parts > 1) {
        merges.request[count] = static_cast<unsigned>(i);
        merges.first_slot[count] = static_cast<unsigned>(slot);
        merges.slots[count] = static_cast<unsigned>(parts);
        if (++count == kMaxMerges) {
          launch_merge(merges, count);
          count = 0;
        }
      }
      slot += parts;
    }
    if (count > 0) launch_merge(merges, count);
  }

  void launch_merge(const Merges& merges, int count) {
    plan_.launch("merge")
        .grid(int64_t{count} * kHeads)
        .block(kHeadDim)
        .programmatic()
        .arg(partial_output_)
        .arg(partial_lse_)
        .arg(problem_.output("output"))
        .arg(problem_.output("lse"))
        .arg(merges);
  }

  const fib::PlanProblem& problem_;
  fib::Plan& plan_;
  int64_t batch_;
  int64_t limit_ = 0;
  fib::PlanPointer partial_output_{}, partial_lse_{};
  const int32_t* kv_indptr_ = nullptr;
  const int32_t* kv_last_page_len_ = nullptr;
};

void plan_gqa_decode(const fib::PlanProblem& problem, fib::Plan& plan) {
  DecodePlanner(problem, plan).run();
}

}  // namespace

FIB_EXPORT_PLAN(plan_gqa_decode)
