#pragma once

// Launch plans of attention kernels: attention_prefill.h's and attention_decode.h's of
// <fib/device/...>. A plan.cpp says how many keys a request has and where they begin:
//
//   #include <fib/plan/attention.h>
//   #include "shape.h"  // using Prefill = fib::PrefillAttention<...>
//
//   static void plan_mine(const fib::PlanProblem& problem, fib::Plan& plan) {
//     const fib::PagedRequests<FIB_AXIS_page_size> requests(problem);
//     if (!requests.is_known()) return;  // the plan has failed
//     fib::plan_prefill<Prefill>(problem, plan, requests, [&](fib::Launch& launch) {
//       launch.arg(problem.input("k_cache")).arg(problem.input("v_cache"));
//     });
//   }
//
// Requests is a class with
//   int64_t first(int64_t request) const;  of its first key: index into kv_indices, or row
//   int64_t keys(int64_t request) const;   how many it has

#include <fib/device/attention_decode.h>
#include <fib/device/attention_prefill.h>
#include <fib/plan.h>

namespace fib {

inline float attention_scale_log2(const PlanProblem& problem) {
  constexpr double kLog2E = 1.4426950408889634;
  return static_cast<float>(problem.scalar("sm_scale") * kLog2E);
}

// Keys end to end, by the host's copy of kv_indptr [requests + 1] int32; with pages of one token
// the same indexes kv_indices.
class RaggedRequests {
 public:
  explicit RaggedRequests(const PlanProblem& problem) : indptr_(problem.host_int32("kv_indptr")) {}

  bool is_known() const { return indptr_ != nullptr; }  // else the plan has failed
  int64_t first(int64_t request) const { return indptr_[request]; }
  int64_t keys(int64_t request) const { return indptr_[request + 1] - indptr_[request]; }

 private:
  const int32_t* indptr_;
};

// Keys in pages of kPage tokens: also by kv_last_page_len [requests] int32.
template <int kPage>
class PagedRequests {
 public:
  explicit PagedRequests(const PlanProblem& problem)
      : indptr_(problem.host_int32("kv_indptr")),
        last_page_len_(problem.host_int32("kv_last_page_len")) {}

  bool is_known() const { return indptr_ != nullptr && last_page_len_ != nullptr; }
  int64_t first(int64_t request) const { return indptr_[request]; }
  int64_t keys(int64_t request) const {
    const int64_t pages = indptr_[request + 1] - indptr_[request];
    return pages > 0 ? (pages - 1) * kPage + last_page_len_[request] : 0;
  }

 private:
  const int32_t *indptr_, *last_page_len_;
};

// ---- Prefill.

// Launches prefill<8> or prefill<4> with
//   q, what key_args adds (keys, values and what finds them), output, lse, scale_log2 (float),
//   num_tiles, num_requests (int), PrefillRequests
template <class Prefill, class Requests, class KeyArgs>
class PrefillPlanner {
 public:
  PrefillPlanner(const PlanProblem& problem, Plan& plan, const Requests& requests,
                 const KeyArgs& key_args)
      : problem_(problem),
        plan_(plan),
        requests_(requests),
        key_args_(key_args),
        count_(problem.axis("len_indptr") - 1) {}

  void run() {
    qo_indptr_ = problem_.host_int32("qo_indptr");
    if (!qo_indptr_) return;  // the plan has failed
    if (!(problem_.scalar("sm_scale") > 0.0)) return plan_.fail("sm_scale must be positive");
    // Large tiles read keys less often; small ones give a small problem more blocks.
    int64_t tiles = 0;
    for (int64_t i = 0; i < count_; ++i) tiles += tiles_of(i);
    if (tiles * Prefill::kKvHeads < 2 * problem_.device().multiprocessors) warps_ = 4;
    plan_launches();
  }

 private:
  int64_t queries(int64_t i) const { return qo_indptr_[i + 1] - qo_indptr_[i]; }
  int64_t tiles_of(int64_t i) const {
    const int tokens = Prefill::tile_tokens(warps_);
    return (queries(i) + tokens - 1) / tokens;
  }

  void plan_launches() {
    PrefillRequests listed = {};
    int count = 0, tiles = 0;
    for (int64_t i = 0; i < count_; ++i) {
      if (queries(i) == 0) continue;
      listed.first_tile[count] = tiles;
      listed.first_query[count] = qo_indptr_[i];
      listed.queries[count] = static_cast<int>(queries(i));
      listed.keys[count] = static_cast<int>(requests_.keys(i));
      listed.first_key[count] = static_cast<int>(requests_.first(i));
      tiles += static_cast<int>(tiles_of(i));
      if (++count == kMaxPrefillRequests) {
        launch(listed, count, tiles);
        count = tiles = 0;
      }
    }
    if (count > 0) launch(listed, count, tiles);
  }

  void launch(const PrefillRequests& listed, int count, int tiles) {
    Launch launch = plan_.launch(warps_ == 8 ? "prefill<8>" : "prefill<4>");
    launch.grid(int64_t{tiles} * Prefill::kKvHeads)
        .block(32 * warps_)
        .shared_bytes(Prefill::kSharedBytes)
        .arg(problem_.input("q"));
    key_args_(launch);
    launch.arg(problem_.output("output"))
        .arg(problem_.output("lse"))
        .arg(attention_scale_log2(problem_))
        .arg(tiles)
        .arg(count)
        .arg(listed);
  }

  const PlanProblem& problem_;
  Plan& plan_;
  const Requests& requests_;
  const KeyArgs& key_args_;
  const int64_t count_;  // of requests
  int warps_ = 8;
  const int32_t* qo_indptr_ = nullptr;
};

template <class Prefill, class Requests, class KeyArgs>
void plan_prefill(const PlanProblem& problem, Plan& plan, const Requests& requests,
                  const KeyArgs& key_args) {
  PrefillPlanner<Prefill, Requests, KeyArgs>(problem, plan, requests, key_args).run();
}

// ---- Decode.

// Over a cache in pages of kPage tokens. With the host's lengths, run() launches decode and, where
// requests have several chunks, merge; without them, run_live() launches decode_live and
// merge_live. Their arguments:
//   decode:      q, k_cache, v_cache, kv_indices, output, lse, partial_output, partial_lse,
//                scale_log2 (float), first_slot (int), DecodeChunks
//   merge:       partial_output, partial_lse, output, lse, DecodeMerges
//   decode_live: q, k_cache, v_cache, kv_indptr, kv_indices, kv_last_page_len, output, lse,
//                partial_output, partial_lse, slots, scale_log2 (float), batch, places (int)
//   merge_live:  partial_output, partial_lse, output, lse, slots
template <class Decode, int kPage>
class DecodePlanner {
 public:
  DecodePlanner(const PlanProblem& problem, Plan& plan)
      : problem_(problem), plan_(plan), batch_(problem.axis("batch_size")) {}

  template <class Requests>
  void run(const Requests& requests) {
    if (is_done()) return;
    int64_t total_tokens = 0;
    for (int64_t i = 0; i < batch_; ++i) total_tokens += requests.keys(i);
    limit_ = chunk_tokens(total_tokens);
    int64_t slots = 0;
    for (int64_t i = 0; i < batch_; ++i) slots += chunks_of(requests.keys(i));
    reserve(slots);
    plan_decode(requests);
    plan_merge(requests);
  }

  // From the axes alone: the kernels cut the work where it runs, in at most a chunk for each place
  // and one more a request. last_page_len: of pages of one token, which need none, any pointer.
  void run_live(PlanPointer last_page_len) {
    if (is_done()) return;
    const int64_t capacity = problem_.axis("num_kv_indices") * kPage;
    const int64_t most = (capacity + Decode::kMinChunk - 1) / Decode::kMinChunk;
    int64_t places = (places_of_device() + Decode::kHeadBlocks - 1) / Decode::kHeadBlocks;
    if (places > most) places = most;
    if (places < 1) places = 1;
    const int64_t chunks = places + batch_;
    reserve(chunks);
    const PlanPointer slots = plan_.workspace(batch_ * 8);
    plan_.launch("decode_live")
        .grid(chunks * Decode::kHeadBlocks)
        .block(32, Decode::kWarps)
        .shared_bytes(Decode::kSharedBytes)
        .arg(problem_.input("q"))
        .arg(problem_.input("k_cache"))
        .arg(problem_.input("v_cache"))
        .arg(problem_.input("kv_indptr"))
        .arg(problem_.input("kv_indices"))
        .arg(last_page_len)
        .arg(problem_.output("output"))
        .arg(problem_.output("lse"))
        .arg(partial_output_)
        .arg(partial_lse_)
        .arg(slots)
        .arg(attention_scale_log2(problem_))
        .arg(static_cast<int>(batch_))
        .arg(static_cast<int>(places));
    launch_merge("merge_live", batch_, slots);
  }

 private:
  bool is_done() {
    if (batch_ >= 1 << 17) plan_.fail("batch_size of 131072 or more");
    return batch_ >= 1 << 17 || batch_ == 0;
  }

  // Blocks that run at once.
  int64_t places_of_device() const {
    const FibPlanDevice& device = problem_.device();
    const int64_t per_multiprocessor =
        device.max_shared_bytes_per_multiprocessor / (Decode::kSharedBytes + 1024);
    return device.multiprocessors * (per_multiprocessor > 0 ? per_multiprocessor : 1);
  }

  static int64_t whole_steps(int64_t tokens) {
    return (tokens + Decode::kStepTokens - 1) / Decode::kStepTokens * Decode::kStepTokens;
  }

  // Tokens a chunk: one chunk for each place where a block can run, so that all end together;
  // several of kMostChunk at most, or nearly, where there is more work than that; but enough to be
  // worth a merge.
  int64_t chunk_tokens(int64_t total_tokens) const {
    const int64_t share = total_tokens * Decode::kHeadBlocks / places_of_device();
    const int64_t rounds = share / Decode::kMostChunk + 1;
    const int64_t wanted = whole_steps(share / rounds);
    return wanted < Decode::kMinChunk ? int64_t{Decode::kMinChunk} : wanted;
  }

  int64_t chunks_of(int64_t tokens) const {
    return tokens == 0 ? 1 : (tokens + limit_ - 1) / limit_;
  }

  void reserve(int64_t slots) {
    partial_output_ = plan_.workspace(slots * Decode::kHeads * Decode::kHeadDim * 4);
    partial_lse_ = plan_.workspace(slots * Decode::kHeads * 4);
  }

  template <class Requests>
  void plan_decode(const Requests& requests) {
    DecodeChunks chunks = {};
    int count = 0, first_slot = 0;
    for (int64_t i = 0; i < batch_; ++i) {
      const int64_t tokens = requests.keys(i), parts = chunks_of(tokens);
      // Even parts of whole tiles for each warp.
      const int64_t step = whole_steps((tokens + parts - 1) / parts);
      for (int64_t part = 0; part < parts; ++part) {
        const int64_t from = part * step;
        const int64_t to = from + step < tokens ? from + step : tokens;
        chunks.begin[count] = static_cast<unsigned>(requests.first(i) * kPage + from);
        chunks.request[count] = static_cast<unsigned>(i) << 15 |
                                static_cast<unsigned>(parts == 1) << 14 |
                                static_cast<unsigned>(to - from);
        if (++count == kMaxDecodeChunks) {
          launch_decode(chunks, count, first_slot);
          first_slot += count;
          count = 0;
        }
      }
    }
    if (count > 0) launch_decode(chunks, count, first_slot);
  }

  void launch_decode(const DecodeChunks& chunks, int count, int first_slot) {
    plan_.launch("decode")
        .grid(int64_t{count} * Decode::kHeadBlocks)
        .block(32, Decode::kWarps)
        .shared_bytes(Decode::kSharedBytes)
        .arg(problem_.input("q"))
        .arg(problem_.input("k_cache"))
        .arg(problem_.input("v_cache"))
        .arg(problem_.input("kv_indices"))
        .arg(problem_.output("output"))
        .arg(problem_.output("lse"))
        .arg(partial_output_)
        .arg(partial_lse_)
        .arg(attention_scale_log2(problem_))
        .arg(first_slot)
        .arg(chunks);
  }

  template <class Requests>
  void plan_merge(const Requests& requests) {
    DecodeMerges merges = {};
    int count = 0;
    int64_t slot = 0;
    for (int64_t i = 0; i < batch_; ++i) {
      const int64_t parts = chunks_of(requests.keys(i));
      if (parts > 1) {
        merges.request[count] = static_cast<unsigned>(i);
        merges.first_slot[count] = static_cast<unsigned>(slot);
        merges.slots[count] = static_cast<unsigned>(parts);
        if (++count == kMaxDecodeMerges) {
          launch_merge("merge", count, merges);
          count = 0;
        }
      }
      slot += parts;
    }
    if (count > 0) launch_merge("merge", count, merges);
  }
  template <class Work>
  void launch_merge(const char* kernel, int64_t count, const Work& work) {
    plan_.launch(kernel)
        .grid(count * Decode::kHeads)
        .block(Decode::kHeadDim)
        .programmatic()
        .arg(partial_output_)
        .arg(partial_lse_)
        .arg(problem_.output("output"))
        .arg(problem_.output("lse"))
        .arg(work);
  }

  const PlanProblem& problem_;
  Plan& plan_;
  const int64_t batch_;
  int64_t limit_ = 0;  // tokens a chunk
  PlanPointer partial_output_{}, partial_lse_{};
};

}  // namespace fib
