#pragma once

// The requests that a trace becomes: when each is sent, its prompt, how long its answer is. The
// same trace, options and seed give the same requests on every machine.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "integrations/serving/engine/request.h"
#include "workloads/request_trace.h"

namespace fib {

struct TrafficOptions {
  double rate_scale = 1.0;             // 2: the trace's arrivals twice as fast
  std::optional<double> poisson_rate;  // requests a second, drawn in place of the trace's arrivals
  double length_scale = 1.0;           // of prompts, answers and prefix blocks
  size_t first_request = 0;            // of the trace
  size_t num_requests = 0;             // 0: all that follow
  size_t num_warm_up = 0;              // of these the first, which no figure counts
  int max_tokens = 0;                  // of prompt and answer together; what is longer is cut
  int vocab_size = 0;
  // Prompts are pieces of it; empty: random tokens.
  std::vector<TokenId> corpus;
  float temperature = 0.0f;  // of the sampling
  uint64_t seed = 1;
};

class Traffic {
 public:
  // kInvalidInput names the option: scales and rates that aren't positive, a rate missing for a
  // trace without times, more warm-up than requests, a first request behind the trace's last.
  static Result<Traffic> plan(const RequestTrace& trace, TrafficOptions options);

  size_t size() const { return requests_.size(); }
  bool is_warm_up(size_t i) const { return i < options_.num_warm_up; }
  double arrival_s(size_t i) const { return requests_[i].arrival_s; }  // since the first
  int input_tokens(size_t i) const { return requests_[i].input_tokens; }
  int output_tokens(size_t i) const { return requests_[i].output_tokens; }
  size_t num_cut() const { return num_cut_; }  // requests that max_tokens shortened

  // Without listener. The answer has exactly output_tokens(i), whatever the model thinks of it.
  EngineRequest request(size_t i) const;

 private:
  struct Planned {
    double arrival_s = 0.0;
    int input_tokens = 0, output_tokens = 0;
    std::vector<uint64_t> blocks;
  };
  explicit Traffic(TrafficOptions options) : options_(std::move(options)) {}
  Planned scale(const TracedRequest& traced);
  int block_tokens() const;
  void fill(uint64_t block, std::span<TokenId> tokens) const;

  TrafficOptions options_;
  std::vector<Planned> requests_;
  size_t num_cut_ = 0;
};

}  // namespace fib
