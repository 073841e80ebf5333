#include "integrations/serving/model/token_picker.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace fib {
namespace {

bool changes_logits(const TokenChoice& choice) {
  return !choice.logit_changes.empty() ||
         (choice.repetition_penalty != 1.0f && !choice.repeated.empty());
}

void change_logits(const TokenChoice& choice, float* logits) {
  if (choice.repetition_penalty != 1.0f) {
    for (const TokenId token : choice.repeated) {
      float& logit = logits[token];
      logit = logit > 0.0f ? logit / choice.repetition_penalty : logit * choice.repetition_penalty;
    }
  }
  for (const auto& [token, change] : choice.logit_changes) logits[token] += change;
}

float log_sum_exp(const float* logits, int count) {
  const float top = *std::max_element(logits, logits + count);
  double sum = 0.0;
  for (int i = 0; i < count; ++i) sum += std::exp(static_cast<double>(logits[i] - top));
  return top + static_cast<float>(std::log(sum));
}

std::vector<TokenLogprob> most_likely(const float* logits, int vocab_size, float log_sum,
                                      int count) {
  std::vector<TokenId> order(static_cast<size_t>(vocab_size));
  std::iota(order.begin(), order.end(), 0);
  const auto kept = order.begin() + std::min(count, vocab_size);
  std::partial_sort(order.begin(), kept, order.end(), [&](TokenId a, TokenId b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
  std::vector<TokenLogprob> top;
  for (auto token = order.begin(); token != kept; ++token) {
    top.push_back({.token = *token, .logprob = logits[*token] - log_sum});
  }
  return top;
}

Failure not_finite() {
  return fail(ErrorCode::kEnvironment, "the model's logits are not finite", "logits",
              "a kernel or a weight is broken");
}

}  // namespace

Result<TokenPicker> TokenPicker::create(Dispatch& dispatch, const SignatureRequest& argmax,
                                        const SignatureRequest& sampling, int vocab_size,
                                        int max_rows) {
  TokenPicker picker;
  picker.dispatch_ = &dispatch;
  picker.argmax_ = FIB_TRY(dispatch.resolve(argmax));
  picker.sampling_ = FIB_TRY(dispatch.resolve(sampling));
  picker.vocab_size_ = vocab_size;
  const size_t bytes = static_cast<size_t>(max_rows) * sizeof(TokenId);
  picker.tokens_ = FIB_TRY(dispatch.device().allocate(bytes));
  picker.host_tokens_ = FIB_TRY(dispatch.device().allocate_host(bytes));
  return picker;
}

Result<std::vector<int>> TokenPicker::fetch_rows(std::byte* logits,
                                                 const std::vector<TokenChoice>& choices) {
  ServingDevice& device = dispatch_->device();
  std::vector<int> places(choices.size(), -1);
  int count = 0;
  for (size_t i = 0; i < choices.size(); ++i) {
    if (changes_logits(choices[i]) || choices[i].logprobs >= 0) places[i] = count++;
  }
  if (count == 0) return places;
  const size_t row_bytes = static_cast<size_t>(vocab_size_) * sizeof(float);
  if (host_logits_.bytes() < static_cast<size_t>(count) * row_bytes) {
    host_logits_ = FIB_TRY(device.allocate_host(static_cast<size_t>(count) * row_bytes));
  }
  for (size_t i = 0; i < choices.size(); ++i) {
    if (places[i] < 0) continue;
    FIB_CHECK(device.download(host_logits_.data() + static_cast<size_t>(places[i]) * row_bytes,
                              logits + i * row_bytes, row_bytes));
  }
  FIB_CHECK(device.synchronize());
  return places;
}

Result<std::vector<ChosenToken>> TokenPicker::pick(std::byte* logits,
                                                   const std::vector<TokenChoice>& choices,
                                                   StepPacker& packer) {
  ServingDevice& device = dispatch_->device();
  const auto rows = static_cast<int64_t>(choices.size());
  const size_t row_bytes = static_cast<size_t>(vocab_size_) * sizeof(float);
  const std::vector<int> places = FIB_TRY(fetch_rows(logits, choices));
  // What is reported is what the model said, before penalties.
  std::vector<ChosenToken> chosen(choices.size());
  std::vector<float> log_sums(choices.size());  // of exp(logit), of the rows that the host sees
  std::vector<std::vector<float>> as_said(choices.size());
  for (size_t i = 0; i < choices.size(); ++i) {
    if (places[i] < 0) continue;
    float* row = host_row(static_cast<size_t>(places[i]));
    if (choices[i].logprobs >= 0) {
      log_sums[i] = log_sum_exp(row, vocab_size_);
      if (!std::isfinite(log_sums[i])) return not_finite();
      chosen[i].top = most_likely(row, vocab_size_, log_sums[i], choices[i].logprobs);
      as_said[i].assign(row, row + vocab_size_);
    }
    if (!changes_logits(choices[i])) continue;
    change_logits(choices[i], row);
    FIB_CHECK(
        device.upload(logits + i * row_bytes, reinterpret_cast<const std::byte*>(row), row_bytes));
  }

  const Operand input = Operand::tensor(logits, {rows, vocab_size_});
  const Operand output = Operand::tensor(tokens_, {rows});
  const bool is_greedy = std::all_of(choices.begin(), choices.end(),
                                     [](const TokenChoice& c) { return c.temperature == 0.0f; });
  if (is_greedy) {
    FIB_CHECK(argmax_->run({.inputs = {&input, 1}, .outputs = {&output, 1}}));
  } else {
    const ChoiceInputs with = FIB_TRY(packer.pack_choices(choices));
    const Operand inputs[] = {input,      with.temperature, with.top_k,
                              with.top_p, with.min_p,       with.uniform};
    FIB_CHECK(sampling_->run({.inputs = inputs, .outputs = {&output, 1}}));
  }
  FIB_CHECK(device.download(host_tokens_.data(), tokens_.data(), choices.size() * sizeof(TokenId)));
  FIB_CHECK(device.synchronize());
  for (size_t i = 0; i < choices.size(); ++i) {
    chosen[i].token = host_tokens_.as<TokenId>()[i];
    if (chosen[i].token < 0 || chosen[i].token >= vocab_size_) {
      return not_finite();
    }
    if (as_said[i].empty()) continue;
    chosen[i].logprob = as_said[i][static_cast<size_t>(chosen[i].token)] - log_sums[i];
  }
  return chosen;
}

}  // namespace fib
