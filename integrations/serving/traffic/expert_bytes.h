#pragma once

// How many bytes of expert weights the served traffic made the device read: of each call of a
// mixture of experts, the distinct experts among its tokens times the bytes of one. A graph's
// padding is nobody's token.

#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "integrations/package/dispatch.h"

namespace fib {

struct ExpertTraffic {
  uint64_t calls = 0;   // of expert layers
  uint64_t tokens = 0;  // rows of these calls
  // Equal where the chosen experts are seen, as in an executor's steps they are. In calls that are
  // made otherwise on a card, at least every token chose the same ones, at most all chose others.
  double least_bytes = 0.0, most_bytes = 0.0;

  bool is_exact() const { return least_bytes == most_bytes; }
  ExpertTraffic since(const ExpertTraffic& earlier) const;
};

class ExpertBytes final : public CallTap {
 public:
  explicit ExpertBytes(Dispatch& dispatch);
  ~ExpertBytes() override;
  ExpertBytes(const ExpertBytes&) = delete;
  ExpertBytes& operator=(const ExpertBytes&) = delete;

  void on_call(const Kernel& kernel, const KernelCall& call, double host_ns) override;
  bool wants_computed() const override { return true; }
  ExpertTraffic read() const;  // from any thread

 private:
  struct Layout {  // of a signature's calls
    bool has_experts = false;
    size_t ids = 0;  // position of topk_ids
    int64_t num_experts = 0;
    double bytes_per_expert = 0.0;
  };
  Layout layout_of(const Signature& signature) const;
  int64_t count_distinct(const int32_t* ids, int64_t count, int64_t num_experts);

  Dispatch& dispatch_;
  const bool can_read_;
  std::unordered_map<const Kernel*, Layout> layouts_;  // of the thread that makes the calls
  std::vector<uint8_t> is_used_;                       // by expert; of the call at hand
  mutable std::mutex mutex_;
  ExpertTraffic total_;
};

}  // namespace fib
