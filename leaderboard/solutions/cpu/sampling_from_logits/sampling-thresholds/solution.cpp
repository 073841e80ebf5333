// sampling_from_logits without sorting the vocabulary. Tokens are put into bins by how far their
// logit lies below the largest; sums over bins show which of them holds the last token that top_k
// or top_p keeps, and only its tokens are sorted. The draw is the inverse of the cumulative
// distribution in order of token id.
//
// logits [rows, vocab] float32, temperature [rows] float32, top_k [rows] int32, top_p, min_p and
// uniform [rows] float32 -> token_ids [rows] int32. A row is drawn alike in any batch.

#include <fib/cpu.h>
#include <fib/cpu/bf16.h>
#include <math.h>

#include <algorithm>

namespace {

using fib::Floats;
using fib::kLanes;
using fib::splat;

constexpr int kVocabulary = FIB_AXIS_vocab_size;
constexpr int kBlock = 256;  // tokens that are summed together
constexpr int kBlocks = (kVocabulary + kBlock - 1) / kBlock;
constexpr int kPadded = kBlocks * kBlock;
constexpr float kLog2e = 1.44269504f;
constexpr float kLeastTemperature = 0x1p-20f;  // less counts as 0

// The last token that is kept, where tokens stand from likely to unlikely, equal ones by their id.
struct Cut {
  float logit = -INFINITY;
  int token = kVocabulary;

  bool keeps(float other, int id) const { return other > logit || (other == logit && id <= token); }
};

// Memory of one task.
struct Scratch {
  float weights[kPadded];  // of the row's tokens, relative to the likeliest; 0 beyond the end
  int candidates[kVocabulary];
};

class Row {
 public:
  Row(const float* logits, float temperature, Scratch& scratch)
      : logits_(logits), scratch_(scratch) {
    Floats largest = splat(-INFINITY);
    for (int i = 0; i < kPadded; i += kLanes) {
      const Floats x = logits_at(i);
      largest = x > largest ? x : largest;
    }
    largest_ = fib::max_of(largest);
    if (temperature < kLeastTemperature) return;
    scale_ = kLog2e / temperature;
    for (int i = 0; i < kPadded; i += kLanes)
      fib::store(scratch_.weights + i, fib::exp2_of((logits_at(i) - largest_) * scale_));
  }

  // A row of NaN has no likeliest token: -1 in its place lets a broken model be noticed.
  bool can_draw() const { return isfinite(largest_); }
  int likeliest() const {
    int token = 0;
    while (token < kVocabulary && logits_[token] != largest_) ++token;
    return token < kVocabulary ? token : -1;
  }

  // Of the tokens within `cut` the first `count`.
  Cut first_tokens(const Cut& cut, int64_t count) const {
    return cut_at(
        cut, [](float) { return 1.0; }, [count](double) { return double(count); });
  }
  // Of the tokens within `cut` as many as it takes to hold `share` of their weight.
  Cut first_share(const Cut& cut, float share) const {
    return cut_at(
        cut, [](float weight) { return double{weight}; },
        [share](double all) { return share * all; });
  }

  int draw(const Cut& cut, float min_p, float uniform) {
    double sums[kBlocks], all = 0.0;
    for (int block = 0; block < kBlocks; ++block) {
      Floats sum = {};
      for (int i = block * kBlock; i < (block + 1) * kBlock; i += kLanes) {
        const Floats kept = keep(i, cut, min_p);
        fib::store(scratch_.weights + i, kept);
        sum += kept;
      }
      all += sums[block] = fib::sum_of(sum);
    }
    double left = uniform * all;
    int block = 0, last = 0;  // the last block with weight, should rounding lead beyond it
    for (; block < kBlocks; ++block) {
      if (sums[block] > 0.0) last = block;
      if (left < sums[block]) break;
      left -= sums[block];
    }
    return token_in_block(block < kBlocks ? block : last, left);
  }

 private:
  static constexpr int kBins = 1024;
  static constexpr float kBinsPerPower = 16.0f;  // of two; weights below 2^-64 share the last bin

  Floats logits_at(int i) const {
    if (i + kLanes <= kVocabulary) return fib::load(logits_ + i);
    Floats x = splat(-INFINITY);
    for (int lane = 0; i + lane < kVocabulary; ++lane) x[lane] = logits_[i + lane];
    return x;
  }

  int bin_of(float logit) const {
    const float below = (largest_ - logit) * scale_ * kBinsPerPower;
    return below < kBins - 1 ? static_cast<int>(below) : kBins - 1;
  }

  // The first of the tokens within `cut` whose measures sum up to target(sum of all).
  template <class Measure, class Target>
  Cut cut_at(const Cut& cut, const Measure& measure, const Target& target_of) const {
    double sums[kBins] = {}, all = 0.0;
    for (int token = 0; token < kVocabulary; ++token) {
      const double size = measure(scratch_.weights[token]);
      if (cut.keeps(logits_[token], token)) sums[bin_of(logits_[token])] += size;
    }
    for (const double sum : sums) all += sum;
    double left = target_of(all);
    int bin = 0;
    while (bin < kBins && left > sums[bin]) left -= sums[bin++];
    if (bin == kBins) return cut;  // all of them

    int* const begin = scratch_.candidates;
    int* end = begin;
    for (int token = 0; token < kVocabulary; ++token) {
      if (bin_of(logits_[token]) == bin && cut.keeps(logits_[token], token)) *end++ = token;
    }
    std::sort(begin, end, [this](int a, int b) {
      return logits_[a] != logits_[b] ? logits_[a] > logits_[b] : a < b;
    });
    const int* last = begin;
    while (last + 1 < end && (left -= measure(scratch_.weights[*last])) > 0.0) ++last;
    return {logits_[*last], *last};
  }

  // Sixteen weights, 0 of what is cut away.
  Floats keep(int i, const Cut& cut, float min_p) const {
    const Floats x = logits_at(i), weight = fib::load(scratch_.weights + i);
    const Floats tied = i + kLanes <= cut.token + 1 ? x : partly_tied(x, i, cut);
    const Floats zero = {};
    return (tied >= cut.logit) & (weight >= min_p) ? weight : zero;
  }
  // Logits that equal the cut's, of tokens behind it, lowered out of reach.
  static Floats partly_tied(Floats x, int i, const Cut& cut) {
    for (int lane = 0; lane < kLanes; ++lane) {
      if (x[lane] == cut.logit && i + lane > cut.token) x[lane] = NAN;
    }
    return x;
  }

  int token_in_block(int block, double left) const {
    int token = block * kBlock, last = token;
    for (; token < (block + 1) * kBlock; ++token) {
      const float weight = scratch_.weights[token];
      if (weight == 0.0f) continue;
      last = token;
      if (left < weight) break;
      left -= weight;
    }
    return last;
  }

  const float* logits_;
  Scratch& scratch_;
  float largest_ = 0.0f;
  float scale_ = 0.0f;  // of logits, to powers of two
};

int sample(const FibCall& call, int64_t row, Scratch& scratch) {
  const auto real = [&](int input) { return static_cast<const float*>(call.inputs[input].data); };
  const float temperature = real(1)[row], top_p = real(3)[row];
  const int top_k = static_cast<const int32_t*>(call.inputs[2].data)[row];
  Row tokens(real(0) + row * kVocabulary, temperature, scratch);
  if (temperature < kLeastTemperature) return tokens.likeliest();
  if (!tokens.can_draw()) return -1;
  Cut cut;
  if (top_k > 0 && top_k < kVocabulary) cut = tokens.first_tokens(cut, top_k);
  if (top_p < 1.0f) cut = tokens.first_share(cut, top_p);
  return tokens.draw(cut, real(4)[row], real(5)[row]);
}

int64_t num_tasks(const FibCall& call) {
  return std::min<int64_t>(call.num_threads, call.inputs[0].shape[0]);
}

// Task t takes the rows t, t + tasks, t + 2 * tasks and so on.
void tasks(int64_t begin, int64_t end, void* context) {
  const FibCall& call = *static_cast<const FibCall*>(context);
  auto* const token_ids = static_cast<int32_t*>(call.outputs[0].data);
  for (int64_t task = begin; task < end; ++task) {
    for (int64_t row = task; row < call.inputs[0].shape[0]; row += num_tasks(call))
      token_ids[row] = sample(call, row, static_cast<Scratch*>(call.workspace)[task]);
  }
}

}  // namespace

extern "C" size_t fib_workspace_bytes(const FibCall* call) {
  return static_cast<size_t>(num_tasks(*call)) * sizeof(Scratch);
}

extern "C" int fib_run(const FibCall* call) {
  call->parallel_for(call, num_tasks(*call), 1, tasks, const_cast<FibCall*>(call));
  return 0;
}
