// argmax: the lowest token among the largest logits of each row.
// logits [num_tokens, vocab_size] fp32 -> token_ids [num_tokens] int32.
//
// A row is cut into pieces of 16384 logits, so that one row keeps all threads busy; each piece
// gives its largest logit and that one's token, and a second sweep takes the best piece. A row of
// NaN has no largest: its token is -1, so that a broken model is noticed.

#include <fib/cpu.h>
#include <fib/cpu/bf16.h>

#include <algorithm>
#include <cmath>

namespace {

using namespace fib;

constexpr int64_t kVocab = FIB_AXIS_vocab_size;
constexpr int64_t kPiece = 16384;
constexpr int64_t kPieces = (kVocab + kPiece - 1) / kPiece;

struct Best {
  float logit;
  int32_t token;
};

struct Work {
  const float* logits;  // [num_tokens, kVocab]
  Best* best;           // [num_tokens, kPieces], in the workspace
  int32_t* token_ids;   // [num_tokens]
};

// Of logits[0 .. count), count >= 1.
Best best_of(const float* logits, int64_t count) {
  Best best{logits[0], 0};
  const int64_t whole = count / kLanes * kLanes;
  if (whole > 0) {
    Floats largest = load(logits);
    Ints step = {};  // at which each lane met its largest
    for (int64_t i = kLanes; i < whole; i += kLanes) {
      const Floats next = load(logits + i);
      const Ints is_larger = next > largest;  // not equal: the first of equals stays
      largest = is_larger ? next : largest;
      step = is_larger ? Ints{} + static_cast<int32_t>(i) : step;
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      const int32_t token = step[lane] + lane;
      if (largest[lane] > best.logit || (largest[lane] == best.logit && token < best.token))
        best = {largest[lane], token};
    }
  }
  for (int64_t i = whole; i < count; ++i) {
    if (logits[i] > best.logit) best = {logits[i], static_cast<int32_t>(i)};
  }
  return best;
}

// Tasks: num_tokens * kPieces.
void pieces(int64_t begin, int64_t end, void* context) {
  const Work& work = *static_cast<const Work*>(context);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t row = task / kPieces, first = task % kPieces * kPiece;
    work.best[task] = best_of(work.logits + row * kVocab + first, std::min(kPiece, kVocab - first));
    work.best[task].token += static_cast<int32_t>(first);
  }
}

}  // namespace

extern "C" size_t fib_workspace_bytes(const FibCall* call) {
  return static_cast<size_t>(call->inputs[0].shape[0] * kPieces) * sizeof(Best);
}

extern "C" int fib_run(const FibCall* call) {
  Work work{static_cast<const float*>(call->inputs[0].data), static_cast<Best*>(call->workspace),
            static_cast<int32_t*>(call->outputs[0].data)};
  const int64_t rows = call->inputs[0].shape[0];
  call->parallel_for(call, rows * kPieces, 1 + kPiece / kVocab, pieces, &work);
  for (int64_t row = 0; row < rows; ++row) {
    const Best* first = work.best + row * kPieces;
    const auto is_less = [](const Best& a, const Best& b) { return a.logit < b.logit; };
    const Best& best = *std::max_element(first, first + kPieces, is_less);
    work.token_ids[row] = std::isnan(best.logit) ? -1 : best.token;
  }
  return 0;
}
